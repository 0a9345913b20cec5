"""What several methods say of the same boxes, side by side."""

from typing import Any

from ...modeling.provenance import UnreachedBoxError
from ...store import DetectionRow
from ...structures import HeatMaps
from ...utils.progress import part_of_work
from ..refusals import RefusedError
from ..requests import MethodsAsked
from .base import ASKS, Question
from .given import UNREACHED, boxes_within


@ASKS.register_as("methods")
class Methods(Question[MethodsAsked]):
    """Maps of given boxes by one method after the other."""

    def check(self) -> None:
        """See :class:`Question`."""
        self.label = self.detector.number_of(self.asked.label)
        self.boxes = boxes_within(self.asked.boxes, self.image.size)
        self.methods = list(dict.fromkeys(self.asked.methods))
        for method in self.methods:
            self.detector.require_method(method)

    def answer(self) -> dict[str, Any]:
        """See :class:`Question`."""
        boxes, labels = self.boxes, [self.label] * len(self.boxes)
        maps: dict[tuple[str, str], tuple[range, HeatMaps]] = {}
        rows: list[DetectionRow] = []
        input_size = None
        for number, method in enumerate(self.methods):
            with part_of_work(number, len(self.methods)):
                try:
                    found = self.detector.explain(self.image.pixels, boxes, labels, method)
                except UnreachedBoxError as error:
                    raise RefusedError(422, UNREACHED) from error
            rows = rows or self.rows(found, "annotation")
            input_size = found.heatmaps.image_size
            maps[method, ""] = (range(len(found)), found.heatmaps)
        return self.record(rows, maps, input_size)
