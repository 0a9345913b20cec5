"""The schema of a FiftyOne dataset, as ``metadata.json`` of a folder in the form of its ``FiftyOneDataset`` has it.

FiftyOne takes this document for the dataset's own when it loads the folder, so every field that samples have must be in
it. The form is that of version 1.0; newer versions of FiftyOne bring it up to date when they load it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..utils.files import checksum
from .figures import BOOL, FLOAT, INT, TEXT

_VERSION = "1.0.0"
_FIELDS, _LABELS = "fiftyone.core.fields", "fiftyone.core.labels"
_OF_KIND = {BOOL: "BooleanField", INT: "IntField", FLOAT: "FloatField", TEXT: "StringField"}
# What every label has; `box` fields are those of a detection in FiftyOne's own sense.
_LABEL = {"id": "ObjectIdField", "tags": "StringField[]"}
_DETECTION = {
    **_LABEL,
    "attributes": "DictField",
    "label": "StringField",
    "bounding_box": "FloatField[]",
    "mask": "ArrayField",
    "mask_path": "StringField",
    "confidence": "FloatField",
    "index": "IntField",
}
_HEATMAP = {**_LABEL, "map": "ArrayField", "map_path": "StringField", "range": "HeatmapRangeField"}
_SAMPLE = {
    "id": "ObjectIdField",
    "filepath": "StringField",
    "tags": "StringField[]",
    "metadata": "ImageMetadata",
    "created_at": "DateTimeField",
    "last_modified_at": "DateTimeField",
    "_media_type": "StringField",
    "_rand": "FloatField",
    "_dataset_id": "ObjectIdField",
}
_IMAGE = {
    "size_bytes": "IntField",
    "mime_type": "StringField",
    "width": "IntField",
    "height": "IntField",
    "num_channels": "IntField",
}


def object_id(*parts: object) -> dict[str, str]:
    """An id of 24 hexadecimal digits, the same for the same parts."""
    return {"$oid": checksum("/".join(map(str, parts)))[:24]}


def field_names(names: Iterable[str]) -> dict[str, str]:
    """For each name one that FiftyOne takes for a field, of letters, digits and underscores, no two the same."""
    found: dict[str, str] = {}
    for name in names:
        stem = "".join(letter if letter.isalnum() else "_" for letter in name).lstrip("_") or "field"
        own, number = stem, 1
        while own in found.values():
            number += 1
            own = f"{stem}_{number}"
        found[name] = own
    return found


def dataset_document(
    name: str,
    detections: Sequence[str],
    single: Sequence[str],
    box_fields: Mapping[str, str],
    truth: Mapping[str, str],
    heatmaps: Iterable[str],
    of_sample: Mapping[str, str],
    classes: Sequence[str],
    info: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of ``metadata.json``.

    Args:
        name: of the dataset.
        detections: fields with a list of explained boxes.
        single: fields with one explained box.
        box_fields: name -> kind ("bool", "int", "float", "text") of what such a box has beside FiftyOne's own.
        truth: likewise of annotated objects, which are in the field ``ground_truth``.
        heatmaps: fields with a map.
        of_sample: likewise of a sample itself.
        classes: names of the detector's classes.
        info: whatever is told about the dataset.
    """
    own = [_field(name, kind) for name, kind in _DETECTION.items()]
    box = [*own, *(_field(name, _OF_KIND[kind]) for name, kind in box_fields.items())]
    annotation = [*own, *(_field(name, _OF_KIND[kind]) for name, kind in truth.items())]
    fields = [
        *(_field(name, kind) for name, kind in _SAMPLE.items() if name != "metadata"),
        _embedded("metadata", "fiftyone.core.metadata.ImageMetadata", [_field(*one) for one in _IMAGE.items()]),
        *(_field(name, _OF_KIND[kind]) for name, kind in of_sample.items()),
        *(_detections(name, box) for name in detections),
        *(_embedded(name, f"{_LABELS}.Detection", box) for name in single),
        _detections("ground_truth", annotation),
        *(_embedded(name, f"{_LABELS}.Heatmap", [_field(*one) for one in _HEATMAP.items()]) for name in heatmaps),
    ]
    return {
        "_id": object_id(name),
        "name": name,
        "version": _VERSION,
        "persistent": False,
        "media_type": "image",
        "group_media_types": {},
        "tags": [],
        "info": dict(info),
        "classes": {name: list(classes) for name in detections} if classes else {},
        "default_classes": list(classes),
        "mask_targets": {},
        "default_mask_targets": {},
        "skeletons": {},
        "sample_fields": fields,
        "frame_fields": [],
        "saved_views": [],
        "workspaces": [],
        "annotation_runs": {},
        "brain_methods": {},
        "evaluations": {},
        "runs": {},
    }


def _field(name: str, kind: str) -> dict[str, Any]:
    """A field of a kind; ``[]`` behind it is a list of them."""
    listed = kind.endswith("[]")
    subfield = f"{_FIELDS}.{kind.removesuffix('[]')}" if listed else None
    if kind == "HeatmapRangeField":
        subfield = f"{_FIELDS}.FloatField"
    return _any_field(name, "ListField" if listed else kind, subfield=subfield)


def _embedded(name: str, document: str, fields: list[dict[str, Any]]) -> dict[str, Any]:
    return _any_field(name, "EmbeddedDocumentField", document=document, fields=fields)


def _detections(name: str, fields: list[dict[str, Any]]) -> dict[str, Any]:
    listed = _any_field("detections", "ListField", f"{_FIELDS}.EmbeddedDocumentField", f"{_LABELS}.Detection", fields)
    return _embedded(name, f"{_LABELS}.Detections", [listed])


def _any_field(
    name: str,
    kind: str,
    subfield: str | None = None,
    document: str | None = None,
    fields: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    if name == "attributes":
        subfield, document = f"{_FIELDS}.EmbeddedDocumentField", f"{_LABELS}.Attribute"
    return {
        "name": name,
        "ftype": f"{_FIELDS}.{kind}",
        "embedded_doc_type": document,
        "subfield": subfield,
        "fields": list(fields),
        "db_field": "_id" if name == "id" else name,
        "description": None,
        "info": None,
        "read_only": name in ("created_at", "last_modified_at"),
    }
