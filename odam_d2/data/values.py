"""Values of annotation files, checked once and repaired where they can be understood.

Each function returns the value as the rest of the package takes it, and whether it had to be repaired.
"""

import math
import re
from numbers import Real
from typing import Any

import numpy as np

_WHOLE = re.compile(r"[+-]?[0-9]+(\.0*)?")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_FLAGS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1, "no": 0, "yes": 1, "": 0, "null": 0, "none": 0}
_LONGEST = 100  # characters of a value in a message
# No image that Pillow reads has a longer side; larger sizes are mistakes.
MOST_PIXELS = 1_000_000


class UnusableError(ValueError):
    """A value that can't be understood.

    Args:
        reason: why, the same words for all values of the kind.
        detail: the value, or what else tells one case from another.
    """

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason} ({detail})" if detail else reason)
        self.reason, self.detail = reason, detail


def shown(value: Any) -> str:
    """A value in a message: its repr, cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of very many digits, or lists in lists without end
        return f"a very long {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def number(value: Any) -> tuple[float, bool]:
    """A finite number; text that is one is repaired.

    Raises:
        UnusableError: if it is none.
    """
    if type(value) is float and math.isfinite(value):  # by far the most
        return value, False
    repaired = isinstance(value, str)
    if isinstance(value, str):
        text = value.strip()
        if not _NUMBER.fullmatch(text):
            raise UnusableError("is no number", shown(value))
        value = float(text)
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise UnusableError("is no number", shown(value))
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise UnusableError("is not finite", shown(value))
    return found, repaired


def numbers(values: Any) -> tuple[list[float], bool]:
    """A list of finite numbers, as Python's own.

    Raises:
        UnusableError: if it is no list, or one of them is no finite number.
    """
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, list | tuple):
        raise UnusableError("is no list of numbers", shown(values))
    try:
        # Nearly all lists, in a fraction of the time.
        if set(map(type, values)) <= {int, float} and all(map(math.isfinite, values)):
            return list(map(float, values)), False
    except OverflowError:
        pass
    try:
        pairs = [number(value) for value in values]
    except UnusableError as error:
        raise UnusableError(error.reason, shown(values)) from error
    return [found for found, _ in pairs], any(repaired for _, repaired in pairs)


def identity(value: Any) -> tuple[int | str, bool]:
    """An id: a whole number, or text that is none.

    Text of digits and numbers such as 3.0 are repaired: they are that whole number.

    Raises:
        UnusableError: if it is something else.
    """
    if type(value) is int:  # by far the most
        return value, False
    if isinstance(value, str):
        text = value.strip()
        if _WHOLE.fullmatch(text) and len(text) < _LONGEST:
            return int(text.partition(".")[0]), True
        if text:
            return value, False
    elif isinstance(value, Real) and not isinstance(value, bool | np.bool_):
        if isinstance(value, int):
            return value, False
        if math.isfinite(value) and float(value).is_integer():
            return int(float(value)), True
    raise UnusableError("is no id", shown(value))


def flag(value: Any) -> tuple[int, bool]:
    """0 or 1; texts of them, false, true and null are repaired.

    Raises:
        UnusableError: if it is something else.
    """
    if type(value) is int and value in (0, 1):
        return value, False
    if value is None:
        return 0, True
    if isinstance(value, str) and value.strip().casefold() in _FLAGS:
        return _FLAGS[value.strip().casefold()], True
    if isinstance(value, Real | np.bool_) and value in (0, 1):
        return int(value == 1), True
    raise UnusableError("is neither 0 nor 1", shown(value))


def side(value: Any) -> tuple[int, bool]:
    """A side of an image, in pixels; text of digits and numbers such as 640.0 are repaired.

    Raises:
        UnusableError: if it is no whole number from 1 to a million.
    """
    found, _ = number(value)
    if not found.is_integer() or not 1 <= found <= MOST_PIXELS:
        raise UnusableError("is no number of pixels", shown(value))
    return int(found), not isinstance(value, int)


def text(value: Any) -> tuple[str, bool]:
    """Text that can be shown and written; a number is repaired, and so are characters that no encoding has.

    Raises:
        UnusableError: if it is something else, or empty.
    """
    repaired = isinstance(value, int | float) and not isinstance(value, bool)
    found = str(value) if repaired else value
    if not isinstance(found, str) or not found.strip():
        raise UnusableError("is no text", shown(value))
    clean = found.encode("utf-8", "replace").decode("utf-8")
    return clean, repaired or clean != found
