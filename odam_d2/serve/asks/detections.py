"""What the detector finds, and what it looks at."""

from typing import Any

from ..requests import DetectionsAsked
from .base import ASKS, Question


@ASKS.register_as("detections")
class Detections(Question[DetectionsAsked]):
    """Detections with their maps, and the classes that each might have been."""

    def check(self) -> None:
        """See :class:`Question`."""
        self.detector.require_method(self.asked.method)

    def answer(self) -> dict[str, Any]:
        """See :class:`Question`."""
        asked = self.asked
        found = self.before.detect(self.detector, self.image, asked.method, asked.threshold)
        maps = {(asked.method, ""): (range(len(found)), found.heatmaps)}
        record = self.record(self.rows(found), maps, found.heatmaps.image_size)
        for one, classes in zip(record["detections"], self.detector.best_classes(found), strict=True):
            one["classes"] = classes
        return record
