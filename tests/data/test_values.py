"""Values of annotation files: what is taken as it is, what is repaired, and what can't be understood."""

import math

import numpy as np
import pytest

from odam_d2.data.values import UnusableError, flag, identity, number, numbers, shown, side, text


@pytest.mark.parametrize(
    "check, given, found",
    [
        (number, 3, (3.0, False)),
        (number, -0.5, (-0.5, False)),
        (number, np.float32(2), (2.0, False)),
        (number, " 12.50 ", (12.5, True)),
        (number, "-1e2", (-100.0, True)),
        (numbers, [1, 2.5], ([1.0, 2.5], False)),
        (numbers, (), ([], False)),
        (numbers, ["1", 2], ([1.0, 2.0], True)),
        (numbers, np.array([1, 2]), ([1.0, 2.0], False)),
        (identity, 7, (7, False)),
        (identity, 0, (0, False)),
        (identity, -3, (-3, False)),
        (identity, "7", (7, True)),
        (identity, " 7.0", (7, True)),
        (identity, 7.0, (7, True)),
        (identity, "img_7", ("img_7", False)),
        (identity, "1e5", ("1e5", False)),  # of hex digits, not a number
        (flag, 0, (0, False)),
        (flag, 1, (1, False)),
        (flag, "0", (0, True)),
        (flag, "1", (1, True)),
        (flag, False, (0, True)),
        (flag, True, (1, True)),
        (flag, None, (0, True)),
        (flag, 1.0, (1, True)),
        (flag, "False", (0, True)),
        (side, 640, (640, False)),
        (side, "640", (640, True)),
        (side, 640.0, (640, True)),
        (side, "640.0", (640, True)),
        (text, "dog", ("dog", False)),
        (text, 3, ("3", True)),
        (text, "a\ud800", ("a?", True)),
    ],
)
def test_what_is_understood(check, given, found):
    assert check(given) == found and type(check(given)[0]) is type(found[0])


@pytest.mark.parametrize(
    "check, given, reason",
    [
        (number, math.nan, "is not finite"),
        (number, -math.inf, "is not finite"),
        (number, 10**400, "is not finite"),
        (number, "nan", "is no number"),
        (number, "1_000", "is no number"),
        (number, "1,5", "is no number"),
        (number, "", "is no number"),
        (number, True, "is no number"),
        (number, None, "is no number"),
        (number, [1], "is no number"),
        (numbers, "1234", "is no list of numbers"),
        (numbers, {"x": 1}, "is no list of numbers"),
        (numbers, [1, None], "is no number"),
        (numbers, [1, [2]], "is no number"),
        (numbers, [1, math.nan], "is not finite"),
        (numbers, [10**400, 1], "is not finite"),
        (identity, True, "is no id"),
        (identity, 1.5, "is no id"),
        (identity, math.nan, "is no id"),
        (identity, None, "is no id"),
        (identity, "", "is no id"),
        (identity, [1], "is no id"),
        (identity, {}, "is no id"),
        (flag, 2, "is neither 0 nor 1"),
        (flag, "crowd", "is neither 0 nor 1"),
        (flag, [], "is neither 0 nor 1"),
        (flag, math.nan, "is neither 0 nor 1"),
        (side, 0, "is no number of pixels"),
        (side, -640, "is no number of pixels"),
        (side, 640.5, "is no number of pixels"),
        (side, 10**9, "is no number of pixels"),
        (side, True, "is no number"),
        (side, None, "is no number"),
        (text, " ", "is no text"),
        (text, None, "is no text"),
        (text, ["dog"], "is no text"),
    ],
)
def test_what_is_not_understood(check, given, reason):
    with pytest.raises(UnusableError) as refused:
        check(given)
    assert refused.value.reason == reason


def test_values_in_messages_are_cut():
    assert shown("x") == "'x'" and len(shown("x" * 9999)) < 120 and "very long int" in shown(10**9999)
