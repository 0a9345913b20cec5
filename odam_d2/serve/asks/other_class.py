"""What speaks for another class of a detection: the one that it nearly was, or one that is named."""

from typing import Any

import torch
from detectron2.structures import Instances

from ...modeling.provenance import UnreachedBoxError
from ..ranked import CLASS_SCORES
from ..refusals import RefusedError
from ..requests import ClassAsked
from .base import ASKS, Question

ROLE = "other class"


@ASKS.register_as("class")
class OtherClass(Question[ClassAsked]):
    """The map of a detection, and the map of another class on the same box."""

    def check(self) -> None:
        """See :class:`Question`."""
        self.detector.require_method(self.asked.method)
        self.label = None if self.asked.label is None else self.detector.number_of(self.asked.label)

    def answer(self) -> dict[str, Any]:
        """See :class:`Question`."""
        asked, names = self.asked, self.detector.class_names
        every = self.before.find(self.detector, self.image, asked.method, asked.threshold)
        if asked.row >= len(every):
            raise RefusedError(
                422, f"`row` must be one of the {len(every)} detections that score {asked.threshold:g} or more; got "
                f"{asked.row}: ask for the detections again"
            )  # fmt: skip
        found = every[[asked.row]]
        label = self._runner_up(found) if self.label is None else self.label
        (box,) = found.pred_boxes.tensor.tolist()
        (row,) = self.rows(found)
        other: dict[str, Any] = {"label": names[label], "score": None}
        maps = {(asked.method, ""): (range(1), found.heatmaps)}
        try:
            told = self.detector.explain(self.image.pixels, [box], [label], asked.method)
            other["score"] = round(float(told.scores[0]), 6)
            maps[asked.method, ROLE] = (range(1), told.heatmaps)
            row.figures["roles"] = {ROLE: {"box": box, "label": names[label]}}  # type: ignore[index]
        except UnreachedBoxError as error:
            other["why"] = str(error)
        record = self.record([row], maps, found.heatmaps.image_size)
        record["detections"][0]["classes"] = self.detector.best_classes(found)[0]
        return {**record, "other": other, "row": asked.row}

    def _runner_up(self, found: Instances) -> int:
        """The best class but the detection's own."""
        if len(self.detector.class_names) < 2:
            raise RefusedError(422, f"{self.detector.name!r} has one class, so that there is no other")
        if found.has(CLASS_SCORES):
            scores = found.get(CLASS_SCORES)[0].clone()
        else:
            scores = self.detector.scores_at(self.image.pixels, found.pred_boxes.tensor[0].tolist())
        scores[found.pred_classes[0]] = -torch.inf
        return int(scores.argmax())
