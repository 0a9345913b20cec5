"""Boxes, annotated objects and maps as FiftyOne's labels, in its JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..store import AnnotationRow, DetectionRow, ImageRow
from .errors import error_of
from .fiftyone_fields import field_names, object_id
from .figures import FLOAT, INT, TEXT, flat, in_column

# What an explained box has beside FiftyOne's own fields; figures follow.
BOX_FIELDS = {
    "row": INT,
    "kind": TEXT,
    "class_id": INT,
    "annotation": INT,
    "annotation_id": TEXT,
    "iou": FLOAT,
    "occlusion": FLOAT,
    "verdict": TEXT,
    "error": TEXT,
    "mechanism": TEXT,
    "outside": FLOAT,
    "sentence": TEXT,
}
TRUTH_FIELDS = {"row": INT, "class_id": INT, "annotation_id": TEXT, "iscrowd": INT}
SAMPLE_FIELDS = {"number": INT, "key": TEXT, "image_id": TEXT}


class Labels:
    """Makes labels of the rows of a run.

    Args:
        figures: the columns of figures, see :func:`~odam_d2.export.figures.columns_of`.

    Attributes:
        box_fields: name -> kind of what an explained box has beside FiftyOne's own fields.
    """

    def __init__(self, figures: Mapping[str, str]):
        named = field_names([*BOX_FIELDS, *figures])
        self._figures = {name: (named[name], kind) for name, kind in figures.items()}
        self.box_fields = {**BOX_FIELDS, **dict(self._figures.values())}

    def box(self, image: ImageRow, row: int, box: DetectionRow, annotation: AnnotationRow | None) -> dict[str, Any]:
        """An explained box as a ``Detection``; its verdict and mechanism are tags as well."""
        values = {
            "row": row,
            "kind": box.kind,
            "class_id": box.class_id,
            "annotation": box.annotation,
            "annotation_id": None if annotation is None or annotation.id is None else str(annotation.id),
            "iou": box.iou,
            "occlusion": box.occlusion,
            "verdict": box.verdict,
            "error": error_of(box),
            "mechanism": box.mechanism,
            "outside": box.outside,
            "sentence": box.sentence,
        }
        for name, value in flat(box.figures).items():
            field, kind = self._figures[name]
            values[field] = in_column(value, kind)
        tags = list(dict.fromkeys(tag for tag in (box.verdict, error_of(box), box.mechanism) if tag is not None))
        return {**_detection(image, ("box", row), box, tags), "confidence": box.score, **values}

    @staticmethod
    def truth(image: ImageRow, row: int, one: AnnotationRow) -> dict[str, Any]:
        """An annotated object as a ``Detection``."""
        number = None if one.id is None else str(one.id)
        own = {"row": row, "class_id": one.class_id, "annotation_id": number, "iscrowd": int(one.crowd)}
        return {**_detection(image, ("truth", row), one, []), **own}

    @staticmethod
    def heatmap(image: ImageRow, field: str, row: int | None, path: str) -> dict[str, Any]:
        """A map as a ``Heatmap``; `path` is that of its file from the folder of the dataset."""
        own = {"_id": object_id(image.key, field, row), "_cls": "Heatmap", "tags": []}
        return {**own, "map_path": path, "range": None}


def sample_of(image: ImageRow, row: int | None, path: str, tags: Sequence[str]) -> dict[str, Any]:
    """A sample without its labels.

    Args:
        image: what it shows.
        row: of its box; None where the sample is an image.
        path: of the image's file, absolute or from the folder of the dataset.
        tags: of the sample.
    """
    height, width = image.size or (None, None)
    own = object_id(image.key, "sample", row)
    image_id = image.facts.get("image_id")
    return {
        "_id": own,
        "filepath": path,
        "tags": list(tags),
        "metadata": {"_cls": "ImageMetadata", "width": width, "height": height},
        "_media_type": "image",
        "_rand": int(own["$oid"][:8], 16) / 2**32,
        "number": image.number,
        "key": image.key,
        "image_id": None if image_id is None else str(image_id),
    }


def detections_of(labels: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Several ``Detection`` as one label."""
    return {"_cls": "Detections", "detections": list(labels)}


def _detection(
    image: ImageRow, which: tuple[str, int], one: DetectionRow | AnnotationRow, tags: list[str]
) -> dict[str, Any]:
    """What all detections of FiftyOne have; the box is x, y, width, height in shares of the image."""
    height, width = image.size or (1, 1)
    x1, y1, x2, y2 = one.box
    box = [x1 / width, y1 / height, (x2 - x1) / width, (y2 - y1) / height]
    own = {"_id": object_id(image.key, *which), "_cls": "Detection", "attributes": {}, "tags": tags}
    return {**own, "label": one.label, "bounding_box": box}
