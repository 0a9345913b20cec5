"""Ways to remove duplicates among a detector's candidates, by name.

Shape letters: R candidates of an image, K of them kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from detectron2.structures import Instances
from torch import Tensor

from ...ops.diou_nms import diou_nms
from ...ops.matrix_nms import matrix_nms
from ...ops.nms import duplicates, greedy_walk, soft_nms
from ...ops.soft_odam_nms import soft_odam_nms
from ...utils.registry import NamedRegistry
from .candidates import Candidates


@dataclass(frozen=True)
class Suppression:
    """One way to remove duplicates.

    Attributes:
        thresholds: their names.
        published: their values as published; None where these are the detector's own, or the way isn't published.
        by_maps: whether it looks at heat maps.
        function: from candidates, how many to keep at most and the thresholds by name to (K,) int64 indices by falling
            score, and (K,) scores.
    """

    thresholds: tuple[str, ...]
    published: Mapping[str, float] | None
    by_maps: bool
    function: Callable[..., tuple[Tensor, Tensor]]


SUPPRESSIONS: NamedRegistry[Suppression] = NamedRegistry("SUPPRESSION")


def register(
    name: str, thresholds: tuple[str, ...], published: Mapping[str, float] | None, by_maps: bool = False
) -> Callable[[Any], Any]:
    """Decorator that makes a function a way to remove duplicates; arguments as of :class:`Suppression`."""
    return SUPPRESSIONS.register_as(name, lambda function: Suppression(thresholds, published, by_maps, function))


def suppress(candidates: Candidates, way: str, thresholds: Mapping[str, float], most: int) -> Instances:
    """The `most` best candidates that are kept, as a detector reports them: in the original frame.

    Args:
        candidates: of an image.
        way: a key of :data:`SUPPRESSIONS`.
        thresholds: its thresholds.
        most: how many to keep at most.
    """
    return candidates.detections(*SUPPRESSIONS[way].function(candidates, most, **thresholds))


def _walk(candidates: Candidates, suppresses: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """What a greedy walk keeps; (R, R) `suppresses` counts for candidates of one class."""
    kept = greedy_walk(suppresses & candidates.overlaps[1])[:most]
    return kept, candidates.scores[kept]


@register("nms", ("iou_threshold",), None)
def _nms(candidates: Candidates, most: int, iou_threshold: float) -> tuple[Tensor, Tensor]:
    """Detectron2's own."""
    iou, _ = candidates.overlaps
    return _walk(candidates, duplicates(iou, candidates.similarity, iou_threshold, low=-1.0, high=2.0), most)


@register("soft_linear", ("iou_threshold",), {"iou_threshold": 0.3})
def _soft_linear(candidates: Candidates, most: int, iou_threshold: float) -> tuple[Tensor, Tensor]:
    """Soft-NMS, Bodla et al., 2017."""
    about = (candidates.boxes, candidates.scores, candidates.classes)
    return soft_nms(*about, "linear", iou_threshold=iou_threshold, most=most)


@register("soft_gaussian", ("sigma",), {"sigma": 0.5})
def _soft_gaussian(candidates: Candidates, most: int, sigma: float) -> tuple[Tensor, Tensor]:
    """Soft-NMS, Bodla et al., 2017."""
    about = (candidates.boxes, candidates.scores, candidates.classes)
    return soft_nms(*about, "gaussian", sigma=sigma, most=most)


@register("diou_nms", ("iou_threshold",), None)
def _diou_nms(candidates: Candidates, most: int, iou_threshold: float) -> tuple[Tensor, Tensor]:
    """Zheng et al., 2020."""
    kept = diou_nms(candidates.boxes, candidates.scores, candidates.classes, iou_threshold)[:most]
    return kept, candidates.scores[kept]


@register("matrix_gaussian", ("decay",), {"decay": 2.0})
def _matrix_gaussian(candidates: Candidates, most: int, decay: float) -> tuple[Tensor, Tensor]:
    """Matrix-NMS, Wang et al., 2020; `decay` is its sigma, which has the inverse sense of Soft-NMS's."""
    order, scores = matrix_nms(candidates.boxes, candidates.scores, candidates.classes, "gaussian", decay)
    return order[:most], scores[:most]


@register("matrix_linear", (), {})
def _matrix_linear(candidates: Candidates, most: int) -> tuple[Tensor, Tensor]:
    """Matrix-NMS, Wang et al., 2020."""
    order, scores = matrix_nms(candidates.boxes, candidates.scores, candidates.classes, "linear")
    return order[:most], scores[:most]


@register("odam_nms", ("iou_threshold", "low", "high"), None, by_maps=True)
def _odam_nms(candidates: Candidates, most: int, iou_threshold: float, low: float, high: float) -> Any:
    """Zhao and Chan, 2023."""
    iou, _ = candidates.overlaps
    return _walk(candidates, duplicates(iou, candidates.similarity, iou_threshold, low, high), most)


@register("odam_sum", ("weight", "limit"), None, by_maps=True)
def _odam_sum(candidates: Candidates, most: int, weight: float, limit: float) -> tuple[Tensor, Tensor]:
    """Ours: a box goes if its IoU with a better one plus `weight` times the likeness of their maps is above `limit`.

    Where :func:`odam_d2.ops.nms.odam_nms` has three steps, this has one straight border between duplicates and
    neighbours. Boxes that don't overlap never drop each other.
    """
    iou = candidates.overlaps[0].nan_to_num(0.0).double()
    together = iou + weight * candidates.similarity.double()
    return _walk(candidates, (together > limit) & (iou > 0), most)


@register("odam_soft", ("weight", "sigma"), None, by_maps=True)
def _odam_soft(candidates: Candidates, most: int, weight: float, sigma: float) -> tuple[Tensor, Tensor]:
    """Ours, see :func:`odam_d2.ops.soft_odam_nms.soft_odam_nms`."""
    upper = candidates.similarity.triu(1)
    about = (candidates.boxes, candidates.scores, candidates.classes)
    return soft_odam_nms(*about, upper + upper.T, weight, sigma, most=most)
