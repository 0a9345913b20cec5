"""Which query said each detection, found from what all queries said: for query detectors of other projects.

Shape letters: N images, Q queries, K classes of the network's output, D detections of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import Tensor

from .overheard import Call
from .provenance import UnreachedBoxError
from .recorded import UnmatchedError, match_rows

# From (..., K) logits to scores of the classes that are reported.
PROBABILITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    # The last class is that there is no object.
    "softmax": lambda logits: logits.softmax(-1)[..., :-1],
}


def _from_fractions(boxes: Tensor, frames: Tensor) -> Tensor:
    centres, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centres - half, centres + half], -1).float() * frames[:, None]


# From (N, Q, 4) and (N, 4) width, height, width, height to XYXY in model-input pixels; in single precision, as
# Detectron2's Boxes.
DECODERS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "centres and sizes as fractions": _from_fractions,
    "corners in pixels": lambda boxes, frames: boxes.float(),
}


@dataclass(frozen=True)
class SaidByQueries:
    """What all queries said in one pass, with its graph.

    Attributes:
        logits: (N, Q, K).
        boxes: (N, Q, 4), as the network codes them.
    """

    logits: Tensor
    boxes: Tensor

    @classmethod
    def of_call(cls, calls: list[Call], num_images: int) -> SaidByQueries:
        """What a detector's ``inference`` was given, the queries of several calls one after the other.

        Raises:
            UnmatchedError: if it was not called, or with something else.
        """
        if not calls:
            raise UnmatchedError("its `inference` is not called")
        pairs = [_queries_in(call, num_images) for call in calls]
        logits, boxes = (torch.cat(parts, 1) for parts in zip(*pairs, strict=True))
        return cls(logits, boxes)


def _queries_in(call: Call, num_images: int) -> tuple[Tensor, Tensor]:
    tensors = [one for one in call.arguments if isinstance(one, Tensor)]
    if len(tensors) >= 2:
        logits, boxes = tensors[:2]
        fits = logits.dim() == boxes.dim() == 3 and logits.shape[:2] == boxes.shape[:2]
        if fits and len(boxes) == num_images and boxes.shape[2] == 4:
            return logits, boxes
    shapes = [tuple(one.shape) for one in tensors]
    raise UnmatchedError(f"its `inference` takes tensors of shapes {shapes}, not logits and boxes of queries")


@dataclass(frozen=True)
class QueryRule:
    """How a network's outputs become scores and boxes.

    Attributes:
        probabilities: a key of :data:`PROBABILITIES`.
        decoder: a key of :data:`DECODERS`.
        frames: (N, 4) width, height, width, height of the model input without padding.
    """

    probabilities: str
    decoder: str
    frames: Tensor

    def scores(self, logits: Tensor) -> Tensor:
        """Scores of all classes from (..., K) logits."""
        return PROBABILITIES[self.probabilities](logits)

    def decode(self, boxes: Tensor) -> Tensor:
        """(N, Q, 4) XYXY in model-input pixels, not clipped."""
        return DECODERS[self.decoder](boxes, self.frames)

    def num_classes(self, logits: Tensor) -> int:
        """How many classes can be reported."""
        return logits.shape[-1] - (self.probabilities == "softmax")


def find_rule(
    said: SaidByQueries, results: list[Instances], image_sizes: list[tuple[int, int]], num_classes: int | None = None
) -> tuple[QueryRule, list[Tensor]]:
    """The rule by which all detections are found among what the queries said, and the query of each.

    Args:
        said: by the queries of N images.
        results: N times D detections in the original frame, maybe clipped.
        image_sizes: N times (h, w) of the model input without padding.
        num_classes: of the detector where it says so; tells rules apart where nothing was detected.

    Returns:
        The rule, and N times (D,) int64.

    Raises:
        UnmatchedError: if there is none.
    """
    logits, boxes = said.logits.detach(), said.boxes.detach()
    frames = boxes.new_tensor([[w, h, w, h] for h, w in image_sizes], dtype=torch.float32)
    problem: Any = None
    for decoder in _likely_first(boxes):
        for probabilities in PROBABILITIES if logits.shape[2] != (num_classes or 0) + 1 else reversed(PROBABILITIES):
            rule = QueryRule(probabilities, decoder, frames)
            parts = zip(results, rule.decode(boxes), rule.scores(logits), image_sizes, strict=True)
            try:
                return rule, [_match(*one) for one in parts]
            except UnmatchedError as error:
                problem = problem or error
    raise problem


def _likely_first(boxes: Tensor) -> list[str]:
    """Names of decoders, for images without a detection, where every rule fits."""
    fractions, pixels = DECODERS
    return [pixels, fractions] if bool((boxes > 2).any()) else [fractions, pixels]


def _match(found: Instances, boxes: Tensor, scores: Tensor, image_size: tuple[int, int]) -> Tensor:
    if len(found) and int(found.pred_classes.max()) >= scores.shape[1]:
        raise UnmatchedError(f"a detection has class {int(found.pred_classes.max())} of {scores.shape[1]}")
    return match_rows(found, boxes[:, None], scores, image_size)


def best_query(given: Tensor, boxes: Tensor, number: int) -> Tensor:
    """(R,) int64: for each of the (R, 4) boxes given for image `number`, which of (Q, 4) boxes overlaps it most."""
    overlap, best = pairwise_iou(Boxes(given), Boxes(boxes)).max(1)
    none = (overlap <= 0).nonzero()[:, 0]
    if len(none):
        index = int(none[0])
        raise UnreachedBoxError(
            f"box {index} of `instances[{number}]` must overlap the box of a query; got "
            f"{[round(v, 1) for v in given[index].tolist()]} in model-input pixels, which none of the {len(boxes)} "
            "queries found: explain a box nearer to an object"
        )
    return best
