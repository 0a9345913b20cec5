"""Writes images and their annotations as COCO json and as CrowdHuman `.odgt`, the formats of the real data sets."""

import json
import os
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from pycocotools import mask as mask_util

from ...utils.files import atomic_write

JPEG_QUALITY = 92


def encode_jpeg(image: np.ndarray) -> bytes:
    """(H, W, 3) uint8 BGR -> the bytes of a JPEG file.

    Raises:
        ValueError: if `image` is something else.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            f"`image` must be (H, W, 3) uint8 BGR with pixels in it; got {image.shape} {image.dtype}: convert it first"
        )
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def write_images(
    samples: Iterable[tuple[bytes, dict]], folder: str, thing_classes: Sequence[str], json_name: str = "coco.json"
) -> list[dict]:
    """Writes images one by one as they come, then both annotation files.

    Args:
        samples: iterable of (JPEG bytes, record); record as `SyntheticScenes` gives it, plus `file_name`, the bare name
            of the image's file.
        folder: gets `images/`, the json and the odgt file; made when missing.
        thing_classes: class names in the order of `category_id`.
        json_name: name of the COCO file; the other one is always `annotations.odgt`.

    Returns:
        The records, without the images.

    Raises:
        ValueError: if a `file_name` names another folder.
    """
    images = os.path.join(folder, "images")
    os.makedirs(images, exist_ok=True)
    records = []
    for data, record in samples:
        if os.path.basename(record["file_name"]) != record["file_name"] or record["file_name"] in ("", ".", ".."):
            raise ValueError(
                f"`file_name` must be the bare name of a file; got {record['file_name']!r}: leave folders out of it"
            )
        with atomic_write(os.path.join(images, record["file_name"]), "wb") as file:
            file.write(data)
        records.append(record)
    with atomic_write(os.path.join(folder, json_name), "w") as file:
        json.dump(to_coco(records, thing_classes), file)
    with atomic_write(os.path.join(folder, "annotations.odgt"), "w") as file:
        file.writelines(json.dumps(line) + "\n" for line in to_odgt(records, thing_classes))
    return records


def to_coco(records: list[dict], thing_classes: Sequence[str]) -> dict:
    """COCO detection dictionary of some records.

    Args:
        records: list of Detectron2 dicts with XYXY boxes and RLE masks.
        thing_classes: class names; COCO's category ids are 1 .. K in this order.

    Returns:
        dict with `info`, `images`, `categories` and `annotations`. Boxes are XYWH in pixels; `area` is that of the
        visible mask; ignore regions have `iscrowd` 1. `full_box`, `visible_box`, `head_box` (XYXY) and
        `visible_fraction` stay as further fields.
    """
    annotations: list[dict] = []
    for record in records:
        for source in record["annotations"]:
            annotations.append(
                {
                    "id": len(annotations) + 1,  # from 1: pycocotools takes a 0 for "not matched"
                    "image_id": record["image_id"],
                    "category_id": source["category_id"] + 1,
                    "bbox": xywh(source["bbox"]),
                    "area": mask_area(source["segmentation"]),
                    "iscrowd": source["iscrowd"],
                    "segmentation": source["segmentation"],
                    "full_box": source["full_box"],
                    "visible_box": source["visible_box"],
                    "head_box": source["head_box"],
                    "visible_fraction": source["visible_fraction"],
                }
            )
    return {
        "info": {"description": "synthetic images of odam_d2"},
        "images": [
            {"id": r["image_id"], "file_name": r["file_name"], "height": r["height"], "width": r["width"]}
            for r in records
        ],
        "categories": [{"id": k + 1, "name": name, "supercategory": "thing"} for k, name in enumerate(thing_classes)],
        "annotations": annotations,
    }


def to_odgt(records: list[dict], thing_classes: Sequence[str]) -> list[dict]:
    """CrowdHuman lines of some records, one dict an image.

    The format knows people only, so other classes are left out. Ignore regions have the tag "mask" and
    `extra.ignore` 1, as in CrowdHuman. Boxes are XYWH in pixels; full boxes may go beyond the image.

    Args:
        records: list of Detectron2 dicts with XYXY boxes.
        thing_classes: class names; the class "person" is written.

    Returns:
        list of {"ID", "gtboxes"}; the image's file is `<ID>.jpg`.
    """
    person = list(thing_classes).index("person")
    lines = []
    for record in records:
        people = [source for source in record["annotations"] if source["category_id"] == person]
        boxes = [_odgt_box(number, source) for number, source in enumerate(people)]
        lines.append({"ID": os.path.splitext(record["file_name"])[0], "gtboxes": boxes})
    return lines


def _odgt_box(number, source):
    full = xywh(source["full_box"])
    ignored = source["iscrowd"] == 1
    head = full if source["head_box"] is None else xywh(source["head_box"])
    extra = {"box_id": number, "occ": int(source["visible_fraction"] < 0.99)}
    head_attributes = {"ignore": int(ignored), "occ": 0, "unsure": 0}
    if ignored:
        extra["ignore"] = 1
    return {
        "tag": "mask" if ignored else "person",
        "hbox": head,
        "head_attr": head_attributes,
        "fbox": full,
        "vbox": xywh(source["visible_box"]),
        "extra": extra,
    }


def xywh(box: Sequence[float]) -> list[float]:
    """(x1, y1, x2, y2) -> [x, y, width, height]."""
    x1, y1, x2, y2 = box
    return [x1, y1, x2 - x1, y2 - y1]


def mask_area(rle: dict) -> float:
    """Number of pixels of an RLE mask as a float."""
    return float(mask_util.area(rle))
