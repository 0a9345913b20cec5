"""What a detector's own pass leaves behind: the maps, what it said, and the graph between them.

Shape letters: N images, C channels, (H, W) a grid.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.structures import ImageList, Instances
from torch import Tensor

from ..modeling.callable import LOGIT_FIELD
from ..modeling.graph_cut import end_zeros, guard_roots, reached
from ..modeling.leaves import Leaves
from ..modeling.overheard import Call
from ..modeling.provenance import BOX_FIELD
from ..modeling.results import without_graph
from ..structures import CORNERS, SIDES, DetectionTrace, Predictions
from ..utils.untyped import UntypedModule


def as_results(said: Sequence[Instances]) -> list[Instances]:
    """N results without a graph, and without what is ours, from N Instances that a pass gave."""
    results = [without_graph(one) for one in said]
    for result in results:
        for name in (LOGIT_FIELD, BOX_FIELD):
            result.get_fields().pop(name, None)
    return results


@dataclass(frozen=True)
class OwnPass:
    """A detector's own pass.

    Attributes:
        kept: the maps.
        outputs: what the detector gave.
        heard: name -> the calls of a method of the detector's.
        image_sizes: N times (h, w) of the model input without padding, as the network saw it.
        padded_size: (h, w) of the batch with padding.
    """

    kept: Leaves
    outputs: Any
    heard: Mapping[str, list[Call]]
    image_sizes: list[tuple[int, int]]
    padded_size: tuple[int, int]


class OwnGraph:
    """Hands over the graph of the detector's own pass.

    Attributes:
        detector: the GraphDetector whose trace it is.
        batched_inputs: the images.
        said: N Instances with the graph.
        rows: N times (r,) int64, which of an image's detections were traced.
        maps: name -> (N, C, H, W) leaves of the graph.
        image_sizes: N times (h, w) of the model input.
    """

    def __init__(
        self,
        detector: UntypedModule,
        batched_inputs: list[dict],
        said: Any,
        rows: list[Tensor],
        maps: dict[str, Tensor],
        image_sizes: list[tuple[int, int]],
    ):
        self.detector = detector
        self.image_sizes = image_sizes
        self.batched_inputs = batched_inputs
        self.said = said
        self.rows = rows
        self.maps = maps
        self.guarded = False

    def recorded(self, attributes: Collection[str]) -> tuple[list[Tensor], Predictions]:
        """The leaves, in the order of the trace's levels, and the traced predictions with their graph.

        Raises:
            ValueError: if what the attributes read has no graph to any map; says where it is cut.
        """
        predictions = self._predictions(self.said)
        asked = {"boxes": predictions.boxes} if set(attributes) & {*SIDES, *CORNERS} else {}
        asked |= {"scores": predictions.scores} if "score" in attributes else {}
        asked |= {"logits": predictions.logits} if "logit" in attributes else {}
        for name, values in asked.items():
            if len(values) and not reached([values], self.maps):
                raise ValueError(self.detector.why_cut(name, predictions, self.maps, self.batched_inputs))
        if not self.guarded:
            said = [predictions.scores, predictions.logits, predictions.boxes]
            guard_roots(said)
            end_zeros(said)
            self.guarded = True
        return list(self.maps.values()), predictions

    def predict(self, features: Mapping[str, Tensor], trace: DetectionTrace) -> Predictions:
        """Runs the detector again from (N, C, H, W) maps on, with a graph back to them."""
        again = self.detector.run(self.batched_inputs, {**self.maps, **features})
        said = self.detector.read(again.outputs, self.batched_inputs)
        for number, (one, before) in enumerate(zip(said, self.said, strict=True)):
            if not torch.equal(one.pred_classes, before.pred_classes):
                raise RuntimeError(
                    f"the detector must say the same when it is asked twice; got {len(before)} detections for image "
                    f"{number}, then {len(one)} others: switch off what is random in it"
                )
        return self._predictions(said)

    def _predictions(self, said: Any) -> Predictions:
        scores, boxes = [], []
        for one, row, (height, width) in zip(said, self.rows, self.image_sizes, strict=True):
            scores.append(one.scores[row])
            if one.has(BOX_FIELD):
                boxes.append(one.get(BOX_FIELD)[row])
            else:
                scale = [width / one.image_size[1], height / one.image_size[0]] * 2
                boxes.append(one.pred_boxes.tensor[row] * one.pred_boxes.tensor.new_tensor(scale))
        together = torch.cat(scores)
        # Where there are no logits, nobody may take anything for them.
        logits = torch.full_like(together, float("nan"))
        if all(one.has(LOGIT_FIELD) for one in said):
            logits = torch.cat([one.get(LOGIT_FIELD)[row] for one, row in zip(said, self.rows, strict=True)])
        return Predictions(together, logits, torch.cat(boxes))


def sizes_of_input(
    batched_inputs: list[dict], heard: Mapping[str, list[Call]], padded_size: tuple[int, int] | None
) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """N times (h, w) of the model input without padding, and (h, w) with it: of what the network saw.

    A detector may resize its images inside; its ``preprocess_image`` says to what.
    """
    given = [(int(x["image"].shape[-2]), int(x["image"].shape[-1])) for x in batched_inputs]
    for call in heard.get("preprocess_image", ()):
        results = call.result if isinstance(call.result, list | tuple) else [call.result]
        for images in results:
            if isinstance(images, ImageList) and len(images) == len(given):
                sizes = [(int(h), int(w)) for h, w in images.image_sizes]
                return sizes, padded_size or (int(images.tensor.shape[-2]), int(images.tensor.shape[-1]))
    largest = max(height for height, _ in given), max(width for _, width in given)
    padded_size = padded_size or largest
    if any(padded < size for padded, size in zip(padded_size, largest, strict=True)):
        if len(set(given)) > 1:
            raise ValueError(
                f"images of a batch must have one size where the detector resizes them inside; got {given} for a "
                f"network that sees {padded_size}: explain one image at a time"
            )
        return [padded_size] * len(given), padded_size
    return given, padded_size
