"""Between Detectron2's instances and annotated objects and the rows of a run on disk."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.structures import Boxes, Instances

from ...store import AnnotationRow, DetectionRow, ImageRow, StoredImage
from ...structures import HeatMaps
from ...visualize.ground_truth import Annotation
from ...visualize.storage import class_name


def annotation_rows(annotations: Sequence[Annotation]) -> list[AnnotationRow]:
    """The rows of annotated objects, in their order."""
    return [AnnotationRow(one.box, one.class_id, one.label, one.crowd, one.id, one.occlusion) for one in annotations]


def detection_rows(
    instances: Instances,
    class_names: Sequence[str],
    kind: str = "detection",
) -> list[DetectionRow]:
    """The rows of explained boxes, in their order.

    Args:
        instances: R boxes with ``pred_boxes``, ``pred_classes`` and, if they have one, ``scores``, in the original
            image's frame.
        class_names: by the detector's numbers.
        kind: see :class:`DetectionRow`.
    """
    scores = instances.scores.tolist() if instances.has("scores") else [None] * len(instances)
    columns = (instances.pred_boxes.tensor.tolist(), instances.pred_classes.tolist(), scores)
    return [
        DetectionRow(tuple(box), number, class_name(number, class_names), score, kind)
        for box, number, score in zip(*columns, strict=True)
    ]


def measured_rows(image: ImageRow, result: Mapping[str, Any], class_names: Sequence[str]) -> StoredImage:
    """The rows of an image whose explanations were measured: its matched objects, with their values as figures.

    Args:
        image: the image.
        result: see :meth:`~odam_d2.evaluation.runs.measuring.Measuring.measure`.
        class_names: by the detector's numbers.
    """
    rows = [
        DetectionRow(
            tuple(one["box"]),
            one["class"],
            class_name(one["class"], class_names),
            one["score"],
            iou=one["iou"],
            verdict="correct",
            figures={method: {name: values[k] for name, values in by_metric.items()}
                     for method, by_metric in result["values"].items()},
        )
        for k, one in enumerate(result["objects"])
    ]  # fmt: skip
    return StoredImage(image, detections=rows)


def stored_instances(stored: StoredImage, method: str, class_names: Sequence[str] = ()) -> Instances:
    """The detections of a stored image with their maps by one method, as an explainer gives them.

    Args:
        stored: the image, with its maps.
        method: of the maps.
        class_names: by the detector's numbers.

    Returns:
        ``pred_boxes``, ``scores``, ``pred_classes`` and ``heatmaps`` (see :mod:`odam_d2.store.packing` for how exact
        they are), in the original image's frame.

    Raises:
        ValueError: if the image failed, or has detections without such maps.
    """
    size, input_size = stored.image.size, stored.image.input_size
    if size is None or input_size is None:
        raise ValueError(f"`stored` must be an image that was explained; got one that failed: {stored.image.failure}")
    rows, heatmaps = stored.maps.get((method, ""), ([], HeatMaps.empty((), input_size, size)))
    if len(rows) != len(stored.detections):
        raise ValueError(
            f"`method` must have maps of all {len(stored.detections)} boxes of {stored.image.name!r}; {method!r} has "
            f"{len(rows)}: choose among {sorted({name for name, _ in stored.maps})}"
        )
    heatmaps.class_names = tuple(class_names)
    boxes = torch.tensor([one.box for one in stored.detections], dtype=torch.float32).reshape(-1, 4)
    scores = torch.tensor([float("nan") if one.score is None else one.score for one in stored.detections])
    classes = torch.tensor([one.class_id for one in stored.detections], dtype=torch.int64)
    return Instances(size, pred_boxes=Boxes(boxes), scores=scores, pred_classes=classes, heatmaps=heatmaps)
