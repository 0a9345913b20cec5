"""Records as a COCO file that pycocotools evaluates safely."""

from collections.abc import Sequence
from typing import Any

from .boxes import corners
from .segmentations import area_of_segmentation


def coco_content(records: Sequence[dict], class_names: Sequence[str]) -> dict[str, Any]:
    """What a COCO file of some records holds.

    Ids of annotations are new, from 1: COCO's evaluation takes 0 for "not matched", and two annotations of one id for
    one. What is marked with ``ignore`` becomes a crowd, which is how that evaluation leaves it out. An object without a
    mask gets an empty one, which no prediction can match.

    Args:
        records: of :class:`odam_d2.data.coco.CocoFile`, all of classes that have a name.
        class_names: by number; category ids are these numbers plus one.
    """
    annotations: list[dict[str, Any]] = []
    for record in records:
        for item in record["annotations"]:
            x1, y1, x2, y2 = corners(item)
            box = [x1, y1, x2 - x1, y2 - y1]
            size = (record["height"], record["width"]) if {"height", "width"} <= record.keys() else None
            mask = item.get("segmentation")
            if mask is None and size is not None:
                mask = {"size": list(size), "counts": [size[0] * size[1]]}
            about = {
                "id": len(annotations) + 1,
                "image_id": record["image_id"],
                "category_id": item["category_id"] + 1,
                "bbox": box,
                "area": item.get("area") or _area(item, box, size),
                "iscrowd": int(bool(item.get("iscrowd") or item.get("ignore"))),
            }
            annotations.append(about if mask is None else {**about, "segmentation": mask})
    images = [
        {"id": record["image_id"], **{key: record[key] for key in ("file_name", "height", "width") if key in record}}
        for record in records
    ]
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(class_names)]
    return {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}


def _area(item: dict, box: list[float], size: tuple[int, int] | None) -> float:
    """Of the mask, as COCO has it, else of the box, in pixels."""
    mask = item.get("segmentation")
    return box[2] * box[3] if mask is None or size is None else area_of_segmentation(mask, size)
