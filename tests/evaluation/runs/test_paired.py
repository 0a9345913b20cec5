"""Differences object by object: by hand, and where means alone would say nothing."""

import numpy as np
import pytest

from odam_d2.evaluation.runs.paired import PairedDifference, paired_differences


def rows(values):
    """(image, object, method, energy_box, compactness) as per_object.csv gives them."""
    names = ("image_id", "annotation_id", "method", "energy_box", "compactness")
    return [dict(zip(names, map(str, line), strict=True)) for line in values]


def test_differences_by_hand():
    found = paired_differences(
        rows(
            [
                (1, 1, "odam", 0.5, 2.0), (1, 1, "rival", 0.4, 1.0), (1, 2, "odam", 0.9, ""), (1, 2, "rival", 0.6, 1.0),
                (2, 1, "rival", 0.1, 1.0), (2, 1, "odam", 0.3, 1.5),
            ]
        ),
        ["energy_box", "compactness"], "odam", "rival",
    )  # fmt: skip
    energy, compactness = found
    # .1, .3 and .2; then 1 and .5, the object without a value left out.
    assert (energy.mean, energy.objects) == (pytest.approx(0.2), 3)
    assert (compactness.mean, compactness.objects) == (pytest.approx(0.75), 2)
    # One image gives .2 on average and the other .2: whichever is drawn. Of .5 and 1, any mean between.
    assert energy.interval == pytest.approx((0.2, 0.2)) and compactness.interval == pytest.approx((0.5, 1.0))
    assert energy.verdict == "better" and compactness.verdict == "worse"


def test_small_steady_differences_show_where_the_means_are_alike():
    generator = np.random.default_rng(0)
    hard = generator.uniform(0, 1, 60)
    lines = [(k, 1, name, value + plus, 1) for k, value in enumerate(hard) for name, plus in (("odam", 0.01), ("b", 0))]
    (one,) = paired_differences(rows(lines), ["energy_box"], "odam", "b")
    assert one.verdict == "better" and one.interval == pytest.approx((0.01, 0.01))


def test_zero_inside_is_open():
    assert PairedDifference("energy_box", 0.1, (-0.1, 0.3), 9).verdict == "open"
    assert PairedDifference("energy_box", 0.0, (0.0, 0.0), 9).verdict == "open"
    assert PairedDifference("energy_box", float("nan"), (float("nan"), float("nan")), 0).verdict == "open"


def test_no_rows_and_an_unknown_method():
    (none,) = paired_differences([], ["energy_box"], "odam", "b")
    assert none.objects == 0 and none.verdict == "open"
    with pytest.raises(ValueError, match="`rival` must be one of .*'odam'.*; got 'b'"):
        paired_differences(rows([(1, 1, "odam", 0.5, 1)]), ["energy_box"], "odam", "b")


def test_what_has_no_direction_is_left_out():
    assert paired_differences([], ["untouched"], "odam", "b") == []
