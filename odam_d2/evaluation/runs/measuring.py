"""From the explained detections of one image to the numbers of its objects.

Shape letters: R matched objects of the image.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.structures import Instances
from torch import Tensor

from ...data.matching import Matches, match_detections
from ...structures import HeatMaps
from ..ground_truth import TrueObjects
from ..metrics.builtin import METRICS
from ..metrics.faithfulness import ScoreObjects
from ..metrics.metric import ExplainedObjects
from ..metrics.stability import ExplainBoxes, explain_with_noise

# Maps of an image are judged some at a time: this many pixels, of which some metrics take several doubles each.
_PIXELS_AT_ONCE = 2**24


@dataclass(frozen=True)
class Measuring:
    """What is measured, and how; the same for all images of a run.

    Attributes:
        metrics: names in :data:`METRICS`.
        iou_threshold: a detection and its object must overlap by more than this.
        attribute: which maps are judged.
        score: asks the detector, for metrics that need it.
        seed: of deletion's noise, and of stability's.
        explain: explains boxes again, for metrics that need it: the comparison itself.

    Raises:
        ValueError: if stability is asked for without `explain`.
    """

    metrics: Sequence[str]
    iou_threshold: float = 0.9
    attribute: str = "score"
    score: ScoreObjects | None = None
    seed: int = 0
    explain: ExplainBoxes | None = None

    def __post_init__(self) -> None:
        if self.explain is None and any(METRICS[name].needs_explainer for name in self.metrics):
            raise ValueError("`explain` must explain boxes again for stability; got None: give the comparison itself")

    def measure(self, record: dict, image: Tensor, output: dict) -> tuple[dict[str, Any], Matches]:
        """Measures all methods on the same objects: those that a detection matches.

        Args:
            record: the image's, with its annotations.
            image: (3, h', w') the model input.
            output: what a comparison gives: ``instances``, ``heatmaps`` by method (None where nothing matches) and
                perhaps ``seconds`` by method.

        Returns:
            What JSON can hold, null where a metric has no value: ``counts`` of what each filter dropped; ``object_ids``
            of all the image's objects, which ``pairs`` number; ``objects``, R dicts; by method and metric ``values``
            (R numbers), ``curves`` and ``pairs``. And the matches.

        Raises:
            ValueError: if a mask that a metric needs can't be decoded, or maps are missing although objects matched.
        """
        truth, found = TrueObjects.of(record), output["instances"].to("cpu")
        matches = self._match(found, truth)
        missing = [name for name, heatmaps in output["heatmaps"].items() if heatmaps is None]
        if missing and len(matches.objects):
            raise ValueError(
                f"`output` must hold maps by every method where detections match objects; got None by {missing} for "
                f"{len(matches.objects)} matched: let `wanted` of the comparison ask Measuring.matches_any"
            )
        # Other metrics don't mind a mask that can't be decoded.
        needs_masks = any(METRICS[name].needs_masks for name in self.metrics)
        has_mask = truth.has_mask.tolist() if needs_masks else [one is not None for one in truth.segmentations]
        result = {
            "image_id": record["image_id"],
            # Not where it lies: a run may go on elsewhere.
            "file_name": Path(record["file_name"]).name,
            "counts": {**truth.dropped, **matches.counts},
            "object_ids": truth.ids,
            "objects": [
                {
                    "annotation_id": truth.ids[o],
                    "class": int(truth.classes[o]),
                    "score": float(found.scores[d]),
                    "iou": iou,
                    "has_mask": has_mask[o],
                    "box": truth.boxes[o].tolist(),
                }
                for d, o, iou in zip(
                    matches.detections.tolist(), matches.objects.tolist(), matches.iou.tolist(), strict=True
                )
            ],
            "values": {},
            "curves": {},
            "pairs": {},
        }
        around_noise = self._around_noise(image, found[matches.detections])
        for method, heatmaps in output["heatmaps"].items():
            seconds = output.get("seconds", {}).get(method)
            pair = around_noise and (around_noise[0][method], around_noise[1][method])
            if heatmaps is None:
                measured = self._nothing()
            else:
                measured = self._method(heatmaps, truth, matches, image, seconds, pair)
            for kind, numbers in measured.items():
                result[kind][method] = numbers
        return result, matches

    def matches_any(self, record: dict, found: Instances) -> bool:
        """Whether one of an image's detections will be measured, so that maps are wanted.

        Args:
            record: the image's, with its annotations.
            found: its detections.
        """
        return len(self._match(found.to("cpu"), TrueObjects.of(record)).objects) > 0

    def _match(self, found: Instances, truth: TrueObjects) -> Matches:
        boxes, scores, classes = found.pred_boxes.tensor, found.scores, found.pred_classes
        return match_detections(boxes, scores, classes, truth.boxes, truth.classes, self.iou_threshold)

    def _nothing(self) -> dict[str, dict[str, list]]:
        """What a method gives where nothing matches."""
        with_curves = [name for name in self.metrics if METRICS[name].axis is not None]
        return {
            "values": {name: [] for name in self.metrics},
            "curves": {name: [] for name in with_curves},
            "pairs": {},
        }

    def _around_noise(self, image, boxes) -> tuple[dict[str, HeatMaps], dict[str, HeatMaps]] | None:
        if self.explain is None or not len(boxes) or not any(METRICS[n].needs_explainer for n in self.metrics):
            return None
        return explain_with_noise(self.explain, image, boxes, self.seed)

    def _method(self, heatmaps, truth, matches, image, seconds, around_noise) -> dict[str, dict[str, list]]:
        names = ("values", "curves", "pairs")
        measured: dict[str, dict[str, list]] = {kind: {} for kind in names}
        at_once = max(1, _PIXELS_AT_ONCE // (truth.size[0] * truth.size[1]))
        for rows in torch.arange(len(matches.objects)).split(at_once):
            seen = ExplainedObjects(
                heatmaps[matches.detections[rows].to(heatmaps.device)],
                self.attribute,
                matches.objects[rows],
                truth,
                image,
                self.score,
                seconds,
                self.seed,
                around_noise and (around_noise[0][rows], around_noise[1][rows]),
            )
            for name in self.metrics:
                metric = METRICS[name]
                values = metric.measure(seen)
                measured["values"].setdefault(name, []).extend(_numbers(values))
                has = bool(metric.has_value(seen).any())
                curves = metric.curves(seen) if has else None
                if metric.axis is not None:
                    nothing = [[None] * len(metric.axis[1])] * len(rows)
                    numbers = nothing if curves is None else _numbers(curves)
                    kept = [one if value is not None else nothing[0] for one, value in zip(numbers, _numbers(values))]
                    measured["curves"].setdefault(name, []).extend(kept)
                pairs = metric.pairs(seen) if has else None
                if pairs is not None:
                    pairs = pairs + pairs.new_tensor([float(rows[0]), 0.0, 0.0, 0.0])
                    measured["pairs"].setdefault(name, []).extend(_numbers(pairs))
        return measured


def _numbers(values: Tensor) -> list:
    """A tensor as nested lists, None for NaN, which JSON doesn't know."""
    if values.dim() > 1:
        return [_numbers(row) for row in values.cpu()]
    return [None if math.isnan(value) else value for value in values.tolist()]
