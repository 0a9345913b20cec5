"""Which of some boxes a detector can explain: those that a prediction of it stands for."""

from collections.abc import Callable
from typing import Any

from detectron2.structures import Instances

from ..modeling.provenance import UnreachedBoxError


def reachable_rows(explain: Callable[[list[dict], list[Instances]], Any], entry: dict, boxes: Instances) -> list[int]:
    """Rows of the boxes that can be explained, by halving: one that can't takes no other with it.

    Args:
        explain: an explainer, or a comparison of several.
        entry: the image, as the detector takes it.
        boxes: R boxes of the image, as the explainer takes them.

    Returns:
        At most R numbers, rising.
    """

    def reached(rows: list[int]) -> list[int]:
        try:
            explain([entry], [boxes[rows]])
        except UnreachedBoxError:
            half = len(rows) // 2
            return [*reached(rows[:half]), *reached(rows[half:])] if half else []
        return rows

    return reached(list(range(len(boxes))))
