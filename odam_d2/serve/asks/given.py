"""Boxes that are given by the one who asks."""

from collections.abc import Sequence

from ..refusals import RefusedError

Box = tuple[float, float, float, float]
UNREACHED = "No prediction of the detector stands for this box, so that it has no map: draw it nearer to an object."


def boxes_within(boxes: Sequence[Sequence[float]], size: tuple[int, int]) -> list[Box]:
    """The parts of boxes that are within the image; a map beyond it would be as large as somebody likes.

    Args:
        boxes: XYXY in the image's pixels.
        size: (h, w) of the image.

    Raises:
        RefusedError: with 422 if one of them is empty, or outside the image.
    """
    (height, width), found = size, []
    for number, (x1, y1, x2, y2) in enumerate(boxes):
        if not (x2 - x1 >= 1 and y2 - y1 >= 1):
            raise RefusedError(
                422, f"`boxes.{number}` must be at least a pixel wide and high, XYXY; got {[x1, y1, x2, y2]}: draw "
                "it larger"
            )  # fmt: skip
        if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
            raise RefusedError(
                422, f"`boxes.{number}` must meet the image of {width} x {height}; got {[x1, y1, x2, y2]}: draw it "
                "inside"
            )  # fmt: skip
        left, top, right, bottom = max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2)
        if right - left < 1 or bottom - top < 1:
            raise RefusedError(
                422, f"`boxes.{number}` must be at least a pixel wide and high within the image of {width} x {height}; "
                f"got {[x1, y1, x2, y2]}: draw it inside"
            )  # fmt: skip
        found.append((left, top, right, bottom))
    return found
