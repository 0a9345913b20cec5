"""Boxes of annotations: which are objects that lie in their image."""

from typing import Any

import numpy as np
from detectron2.structures import BoxMode

from .segmentations import FAR
from .values import MOST_PIXELS, UnusableError, numbers, shown

Corners = tuple[float, float, float, float]


def check_box(value: Any, size: tuple[int, int] | None) -> tuple[list[float], bool]:
    """A box of a COCO file.

    Args:
        value: what the file has.
        size: (h, w) of the image in pixels; None where it isn't known.

    Returns:
        (x, y, width, height) in pixels, and whether it was repaired.

    Raises:
        UnusableError: if these are no four finite numbers, or :func:`check_corners` refuses them.
    """
    found, repaired = four_numbers(value)
    x, y, width, height = found
    if width > 0 and height > 0:
        check_corners((x, y, x + width, y + height), size, found)
    else:
        raise UnusableError("the box has no size", shown(found))
    return found, repaired


def four_numbers(value: Any, count: int = 4) -> tuple[list[float], bool]:
    """The numbers of a box, and whether they were repaired; raises UnusableError if they aren't as many and finite."""
    try:
        found, repaired = numbers(value)
    except UnusableError as error:
        raise UnusableError(f"the box {error.reason}", error.detail) from error
    if len(found) != count:
        raise UnusableError(f"the box must be {count} numbers", shown(value))
    return found, repaired


def check_corners(corners: Corners, size: tuple[int, int] | None, value: Any = None) -> None:
    """Raises UnusableError for a box without a size, or outside of its image.

    Args:
        corners: XYXY in pixels of the original image.
        size: (h, w) of the image in pixels; None where it isn't known.
        value: what to show of it; default the corners.
    """
    x1, y1, x2, y2 = corners
    if min(x2 - x1, y2 - y1) < 1:  # as detectors take it: in single precision a sliver has no size
        with np.errstate(over="ignore"):
            x1, y1, x2, y2 = np.asarray(corners, dtype=np.float32).tolist()
    given = list(corners) if value is None else value
    if not (x2 > x1 and y2 > y1):
        raise UnusableError("the box has no size", shown(given))
    if size is not None and max(size) > 2 and 0 <= min(x1, y1) and max(x2, y2) <= 1 and {x1, y1, x2, y2} != {0.0, 1.0}:
        raise UnusableError("the box must be in pixels, not in fractions of the image", shown(given))
    height, width = size or (MOST_PIXELS, MOST_PIXELS)
    reach = FAR * max(height, width)
    if min(x1, y1) < -reach or x2 > width + reach or y2 > height + reach:
        raise UnusableError("the box reaches absurdly far outside of the image", shown(given))
    if size is not None and (x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height):
        raise UnusableError(
            "the box lies outside of the image", f"{shown(given)} in {width} x {height}, width x height"
        )


def corners(annotation: dict) -> Corners:
    """The box of a record's annotation, XYXY in pixels of the original image."""
    if annotation.get("bbox_mode") == BoxMode.XYWH_ABS:  # by far the most; Detectron2 also adds in single precision
        left, top, width, height = np.asarray(annotation["bbox"], dtype=np.float32)
        return float(left), float(top), float(left + width), float(top + height)
    box = BoxMode.convert(list(annotation["bbox"]), annotation.get("bbox_mode", BoxMode.XYXY_ABS), BoxMode.XYXY_ABS)
    x1, y1, x2, y2 = box
    return x1, y1, x2, y2


def why_no_object(annotation: dict) -> str | None:
    """Why a record's annotation is no object to find: the one rule for reports and metrics.

    Returns:
        ``crowd`` for a group, ``ignored`` where it is marked with ``ignore``, ``empty`` for a box without a size, else
        None.
    """
    if annotation.get("iscrowd", 0):
        return "crowd"
    if annotation.get("ignore", 0):
        return "ignored"
    x1, y1, x2, y2 = corners(annotation)
    return None if x2 > x1 and y2 > y1 else "empty"
