"""Boxes that are given by the one who asks."""

from collections.abc import Sequence

from ..refusals import RefusedError

UNREACHED = "No prediction of the detector stands for this box, so that it has no map: draw it nearer to an object."


def require_boxes(boxes: Sequence[Sequence[float]], size: tuple[int, int]) -> None:
    """Raises RefusedError with 422 where a box is empty or outside the image.

    Args:
        boxes: XYXY in the image's pixels.
        size: (h, w) of the image.
    """
    height, width = size
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
