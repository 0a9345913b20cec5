"""Non-max suppression over again, with what suppressed what.

Shape letters: M pairs of candidate and class of an image.
"""

from __future__ import annotations

from collections.abc import Sequence

from detectron2.layers import batched_nms
from detectron2.structures import Instances
from torch import Tensor

from ...modeling.provenance import ROW_FIELD
from ...ops.nms import odam_nms
from ...postprocess import OdamNMS
from .choice import ChoiceStage, Entrants, Kept, OdamSuppression, Suppression


def by_overlap(found: Instances, iou_threshold: float, most: int) -> tuple[list[ChoiceStage], Instances]:
    """What Detectron2's non-max suppression, class by class, and the limit of detections leave.

    Args:
        found: M Instances with ``pred_boxes``, ``scores``, ``pred_classes`` and the candidates' rows in ``odam_row``.
        iou_threshold: what overlaps a better one by more goes.
        most: how many are left; below 0 for all.

    Returns:
        The two stages, and what is left, by falling score.
    """
    kept = batched_nms(found.pred_boxes.tensor, found.scores, found.pred_classes, iou_threshold)
    left = kept if most < 0 else kept[:most]
    return [Suppression("nms", iou_threshold, _entrants(found), kept), _limit(found, left, most)], found[left]


def by_maps(found: Instances, similarity: Tensor, nms: OdamNMS, most: int) -> tuple[list[ChoiceStage], Instances]:
    """What Odam-NMS and the limit of detections leave.

    Args:
        found: the candidates that are compared, as for :func:`by_overlap`.
        similarity: (M, M) cosines of their maps.
        nms: the detector's.
        most: as for :func:`by_overlap`.

    Returns:
        The three stages, of which the first is that so many are compared, and what is left, by falling score.
    """
    entrants = _entrants(found)
    kept = odam_nms(entrants.boxes, entrants.scores, entrants.groups, similarity, *nms.thresholds)
    left = kept if most < 0 else kept[:most]
    stages: Sequence[ChoiceStage] = [
        Kept("max_candidates", float(nms.max_candidates), entrants.rows, entrants.labels),
        OdamSuppression("nms", nms.thresholds[0], entrants, kept, similarity, nms.thresholds),
        _limit(found, left, most),
    ]
    return list(stages), found[left]


def _entrants(found: Instances) -> Entrants:
    classes = found.pred_classes
    return Entrants(found.get(ROW_FIELD), classes, found.pred_boxes.tensor, found.scores, classes)


def _limit(found: Instances, left: Tensor, most: int) -> Kept:
    return Kept(
        "max_detections", None if most < 0 else float(most), found.get(ROW_FIELD)[left], found.pred_classes[left]
    )
