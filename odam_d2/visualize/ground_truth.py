"""The annotated objects of an image beside its detections."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from detectron2.structures import Boxes, Instances, pairwise_ioa, pairwise_iou

from ..data.boxes import corners, why_no_object
from ..data.coco import UNKNOWN_CLASS
from ..data.matching import match_greedily
from ..data.occlusion import occlusions
from .storage import class_name

# A detection finds an annotated object where the two overlap by at least this intersection over union.
MATCH_IOU = 0.5


@dataclass(frozen=True)
class Annotation:
    """One annotated object.

    Attributes:
        box: XYXY in the original image's pixels.
        label: name of the class in the annotations.
        class_id: the detector's number of the class, -1 if the detector doesn't know it.
        crowd: whether it is no object to find: it stands for a group, or is marked with ``ignore``.
        id: its id in the annotations; its place among the image's where it has none.
        occlusion: how much of it others hide, in [0, 1], see :func:`odam_d2.data.occlusion.occlusions`; None if it
            isn't known.
    """

    box: tuple[float, float, float, float]
    label: str
    class_id: int
    crowd: bool = False
    id: int | str | None = None
    occlusion: float | None = None


def annotations_of(record: dict, class_names: Sequence[str]) -> list[Annotation]:
    """The annotated objects of a record, see :mod:`odam_d2.data.coco`; boxes without a size are left out.

    Args:
        record: of a :class:`odam_d2.data.coco.CocoFile`.
        class_names: the name of each class, by its number.
    """
    found, hidden = [], occlusions(record["annotations"])
    for place, item in enumerate(record["annotations"]):
        reason, number = why_no_object(item), item["category_id"]
        if reason != "empty":
            label = item["category"] if number == UNKNOWN_CLASS else class_name(number, class_names)
            about = (reason is not None, item.get("id", place), hidden[place])
            found.append(Annotation(corners(item), label, number, *about))
    return found


def to_instances(annotations: Sequence[Annotation], height: int, width: int) -> Instances:
    """Annotated objects as boxes to explain; crowds and classes unknown to the detector are left out.

    Returns:
        ``gt_boxes`` and ``gt_classes`` in the original image's frame.
    """
    usable = [a for a in annotations if a.class_id != UNKNOWN_CLASS and not a.crowd]
    return Instances(
        (height, width),
        gt_boxes=Boxes(torch.tensor([a.box for a in usable], dtype=torch.float32).reshape(-1, 4)),
        gt_classes=torch.tensor([a.class_id for a in usable], dtype=torch.int64),
    )


def match_objects(
    instances: Instances, annotations: Sequence[Annotation], class_names: Sequence[str]
) -> dict[int, int]:
    """Which detection finds which annotated object.

    See :func:`odam_d2.data.matching.match_greedily`; of one class, from an IoU of .5 on, as COCO does.

    Args:
        instances: R detections with ``pred_boxes``, ``scores``, ``pred_classes``, in the original image's frame.
        annotations: the annotated objects of the image.
        class_names: the name of each class, by its number; objects and detections meet by these names.

    Returns:
        The number of the object by the number of the detection, for the detections that find one.
    """
    overlap, _ = _overlaps(instances, annotations, class_names)
    found = match_greedily(overlap.numpy(), instances.scores.detach().cpu().numpy(), MATCH_IOU, at_threshold=True)
    return {k: int(found[k]) for k in np.flatnonzero(found >= 0).tolist()}


def judge_detections(
    instances: Instances, annotations: Sequence[Annotation], class_names: Sequence[str]
) -> list[dict[str, float | str]]:
    """Judges each detection by the annotated objects; see :func:`match_objects`.

    Args:
        instances: R detections with ``pred_boxes``, ``scores``, ``pred_classes``, in the original image's frame.
        annotations: the annotated objects of the image.
        class_names: the name of each class, by its number; objects and detections meet by these names.

    Returns:
        R dicts. ``iou`` is the largest with any object of the class (0 without one). ``verdict`` is "match";
        "duplicate" if its object is taken; "crowd" if at least half of it lies in a crowd of its class; else "miss".
    """
    overlap, in_crowd = _overlaps(instances, annotations, class_names)
    found, verdicts = match_objects(instances, annotations, class_names), []
    for k in range(len(instances)):
        if k in found:
            verdicts.append("match")
        elif (overlap[k] >= MATCH_IOU).any():
            verdicts.append("duplicate")
        else:
            verdicts.append("crowd" if (in_crowd[k] >= 0.5).any() else "miss")
    largest = overlap.amax(1) if len(annotations) else torch.zeros(len(instances))
    return [{"iou": float(iou), "verdict": verdict} for iou, verdict in zip(largest, verdicts, strict=True)]


def _overlaps(
    instances: Instances, annotations: Sequence[Annotation], class_names: Sequence[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """(R, O) IoU of detections with objects, and share of detections in crowds; zero where classes differ."""
    boxes = Boxes(instances.pred_boxes.tensor.cpu())
    labels = [class_name(c, class_names) for c in instances.pred_classes.tolist()]
    truth = Boxes(torch.tensor([a.box for a in annotations], dtype=torch.float32).reshape(-1, 4))
    same = torch.tensor([[label == a.label for a in annotations] for label in labels], dtype=torch.bool)
    same = same.reshape(len(boxes), len(annotations))
    crowd = torch.tensor([a.crowd for a in annotations], dtype=torch.bool)
    return pairwise_iou(boxes, truth) * (same & ~crowd), pairwise_ioa(truth, boxes).T * (same & crowd)
