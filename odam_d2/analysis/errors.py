"""What is wrong with each detection of an image, and which of its objects are missed.

Shape letters: R detections, G objects, I regions of one image that are to be ignored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.structures import BoxMode, Instances
from pycocotools import mask as mask_util

from ..data.boxes import corners, why_no_object
from ..data.matching import match_greedily
from ..evaluation.crowd.objects import xywh
from .image_errors import ImageErrors
from .verdicts import ErrorRules, Verdict


@dataclass
class JudgedAnnotations:
    """Annotations of one image as detections are judged by them.

    Attributes:
        boxes: (G, 4) float64 x, y, width, height in pixels of the objects, those of ``TrueObjects`` in their order.
        classes: (G,) int64.
        ids: G ids of the annotations.
        regions: (I, 4) float64, likewise, of annotations of crowds and those marked with ``ignore``.
        region_classes: (I,) int64.
        region_ids: I ids.
    """

    boxes: np.ndarray
    classes: np.ndarray
    ids: list[Any]
    regions: np.ndarray
    region_classes: np.ndarray
    region_ids: list[Any]

    @classmethod
    def of(cls, record: dict) -> "JudgedAnnotations":
        """The annotations of a record, see :mod:`odam_d2.data.coco`."""
        items: dict[bool, list[tuple[Any, dict]]] = {False: [], True: []}
        for number, item in enumerate(record.get("annotations", ())):
            reason = why_no_object(item)
            if reason != "empty":
                items[reason is not None].append((item.get("id", number), item))
        parts = [
            (
                np.array([_xywh(item) for _, item in some], dtype=np.float64).reshape(-1, 4),
                np.array([item["category_id"] for _, item in some], dtype=np.int64),
                [name for name, _ in some],
            )
            for some in (items[False], items[True])
        ]
        return cls(*parts[0], *parts[1])


def label_errors(found: Instances, record: dict, rules: ErrorRules | None = None) -> ImageErrors:
    """Judges the detections of one image.

    Args:
        found: R detections in the original frame with ``pred_boxes``, ``scores`` and ``pred_classes``.
        record: the image's, with its annotations; see :mod:`odam_d2.data.coco`.
        rules: default the paper's.

    Raises:
        ValueError: if a box or score is not finite.
    """
    boxes, scores, classes = (
        value.detach().cpu().numpy() for value in (found.pred_boxes.tensor, found.scores, found.pred_classes)
    )
    # In the boxes' own precision, as Detectron2's evaluators write COCO results.
    return judge_detections(xywh(boxes), scores, classes, JudgedAnnotations.of(record), rules)


def judge_detections(
    boxes: np.ndarray | Sequence,
    scores: np.ndarray | Sequence,
    classes: np.ndarray | Sequence,
    annotations: JudgedAnnotations,
    rules: ErrorRules | None = None,
) -> ImageErrors:
    """:func:`label_errors` for results as COCO's files have them.

    Args:
        boxes: (R, 4) x, y, width, height in pixels.
        scores: (R,).
        classes: (R,) integers.
        annotations: of the image.
        rules: default the paper's.

    Raises:
        ValueError: if a box or score is not finite.
    """
    rules = rules or ErrorRules()
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    scores, classes = np.asarray(scores, dtype=np.float64), np.asarray(classes, dtype=np.int64)
    for name, values in (("boxes", boxes), ("scores", scores[:, None])):
        wrong = ~np.isfinite(values).all(axis=1)
        if wrong.any():
            row = int(wrong.argmax())
            raise ValueError(f"`{name}` must be finite; got {values[row].tolist()} for detection {row}: drop such rows")
    counted = np.zeros(len(boxes), dtype=bool)
    counted[np.argsort(-scores, kind="stable")[: rules.max_detections]] = True

    iou = _overlaps(boxes, annotations.boxes)
    same = classes[:, None] == annotations.classes
    same_iou, other_iou = np.where(same, iou, -1.0), np.where(same, -1.0, iou)
    took = match_greedily(np.where(counted[:, None], same_iou, -1.0), scores, rules.foreground, at_threshold=True)
    found_by = np.full(len(annotations.classes), -1, dtype=np.int64)
    found_by[took[took >= 0]] = np.flatnonzero(took >= 0)
    taken_iou = np.where(found_by >= 0, same_iou, -1.0)

    best, best_same, best_other, best_taken = (_largest(one) for one in (iou, same_iou, other_iou, taken_iou))
    low, high = rules.background, rules.foreground
    # Whatever holds later in this list is overruled by what holds earlier.
    conditions = [
        (~counted, Verdict.NOT_COUNTED, None),
        (took >= 0, Verdict.TRUE_POSITIVE, took),
        ((low <= best_same[0]) & (best_same[0] <= high), Verdict.LOCALISATION, best_same[1]),
        (best_other[0] >= high, Verdict.CLASSIFICATION, best_other[1]),
        (best_taken[0] >= high, Verdict.DUPLICATE, best_taken[1]),
        (best[0] <= low, Verdict.BACKGROUND, np.where(best[0] > 0, best[1], -1)),
    ]
    kinds = np.full(len(boxes), Verdict.BOTH, dtype=np.int8)
    objects = best[1].copy()
    for condition, verdict, rows in reversed(conditions):
        kinds[condition] = verdict
        objects[condition] = -1 if rows is None else rows[condition]

    covered = np.where(
        classes[:, None] == annotations.region_classes, _overlaps(boxes, annotations.regions, crowd=True), 0.0
    )
    region_share, regions = _largest(covered)
    ignored = (region_share > high) & counted & (took < 0)

    explains = np.isin(kinds, (Verdict.CLASSIFICATION, Verdict.LOCALISATION))
    missed = found_by < 0
    missed[objects[explains]] = False
    falling = np.argsort(-scores, kind="stable")
    able = falling[explains[falling]]
    able = able[found_by[objects[able]] < 0]
    mends = np.zeros(len(boxes), dtype=bool)
    mends[able[np.unique(objects[able], return_index=True)[1]]] = True

    at_object = objects >= 0
    own_iou = np.zeros(len(boxes))
    own_iou[at_object] = iou[at_object, objects[at_object]]
    return ImageErrors(
        scores,
        classes,
        kinds,
        ignored,
        objects,
        np.where(ignored, regions, -1),
        own_iou,
        region_share.clip(min=0.0),
        mends,
        found_by,
        missed,
        annotations.classes,
        annotations.ids,
        annotations.region_ids,
    )


def _xywh(annotation: dict) -> list[float]:
    """The box of a record's annotation, to the last bit as its file has it where it is one of COCO's."""
    if annotation.get("bbox_mode") == BoxMode.XYWH_ABS:
        return [float(value) for value in annotation["bbox"]]
    x1, y1, x2, y2 = corners(annotation)
    return [x1, y1, x2 - x1, y2 - y1]


def _overlaps(boxes: np.ndarray, others: np.ndarray, crowd: bool = False) -> np.ndarray:
    """(R, G) float64 by pycocotools, whose rounding decides where an overlap is exactly a threshold.

    Args:
        boxes: (R, 4) x, y, width, height.
        others: (G, 4), likewise.
        crowd: IoU's union is the area of `boxes` alone.
    """
    if not len(boxes) or not len(others):
        return np.zeros((len(boxes), len(others)))
    # It divides by the area of boxes that have none.
    return np.nan_to_num(mask_util.iou(boxes, others, [int(crowd)] * len(others)), nan=0.0)


def _largest(overlap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(R,) the largest of each row, -1 in a row of none, and (R,) the first column that has it, -1 for none."""
    if overlap.shape[1] == 0:
        return np.full(len(overlap), -1.0), np.full(len(overlap), -1, dtype=np.int64)
    return overlap.max(axis=1), overlap.argmax(axis=1)
