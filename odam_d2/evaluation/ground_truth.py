"""The annotated objects of a data set, as metrics need them.

Records are Detectron2's standard dicts: ``file_name``, ``height``, ``width``, ``image_id`` and ``annotations`` with
``bbox``, ``bbox_mode``, ``category_id`` (the detector's number) and, where known, ``segmentation`` and ``iscrowd``.

Shape letters: G objects of one image, (h, w) the image.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from pycocotools import mask as mask_util
from torch import Tensor

from ..data.categories import class_numbers, describe_strangers, require_fitting_names
from .metrics.localization import inside_boxes


@dataclass
class TrueObjects:
    """The objects of one image that count, in the frame of the original image.

    Attributes:
        size: (h, w) of the image.
        boxes: (G, 4) float32 XYXY.
        classes: (G,) int64, the detector's numbers.
        ids: G ids of the annotations.
        segmentations: G times polygons or a run-length mask, as COCO has them; None for an object without.
        dropped: how many annotations were left out, by reason: ``crowd``, ``ignored``, ``empty`` (a box of no size).
    """

    size: tuple[int, int]
    boxes: Tensor
    classes: Tensor
    ids: list[Any]
    segmentations: list[Any]
    dropped: dict[str, int]

    @classmethod
    def of(cls, record: dict) -> "TrueObjects":
        """The objects of a record."""
        dropped = {"crowd": 0, "ignored": 0, "empty": 0}
        kept = []
        for number, item in enumerate(record.get("annotations", ())):
            box = BoxMode.convert(list(item["bbox"]), item.get("bbox_mode", BoxMode.XYXY_ABS), BoxMode.XYXY_ABS)
            if item.get("iscrowd", 0):
                dropped["crowd"] += 1
            elif item.get("ignore", 0):
                dropped["ignored"] += 1
            elif not (box[2] > box[0] and box[3] > box[1]):
                dropped["empty"] += 1
            else:
                kept.append((box, item["category_id"], item.get("id", number), item.get("segmentation") or None))
        return cls(
            (record["height"], record["width"]),
            torch.tensor([box for box, *_ in kept], dtype=torch.float32).view(-1, 4),
            torch.tensor([label for _, label, *_ in kept], dtype=torch.int64),
            [name for *_, name, _ in kept],
            [segmentation for *_, segmentation in kept],
            dropped,
        )

    @cached_property
    def inside_boxes(self) -> Tensor:
        """(G, h, w) bool: the pixels of each box."""
        return inside_boxes(self.boxes, *self.size)

    @cached_property
    def has_mask(self) -> Tensor:
        """(G,) bool: whether there is a mask, and a pixel in it; raises as :attr:`masks` does."""
        return self.masks.flatten(1).any(1)

    @cached_property
    def masks(self) -> Tensor:
        """(G, h, w) bool, empty for an object without a mask.

        Raises:
            ValueError: if a mask can't be decoded, or is of another size than the image.
        """
        masks = np.zeros((len(self.boxes), *self.size), dtype=bool)
        for number, segmentation in enumerate(self.segmentations):
            if segmentation is not None:
                masks[number] = _decode(segmentation, self.size, self.ids[number])
        return torch.from_numpy(masks)


def _decode(segmentation: Any, size: tuple[int, int], name: Any) -> np.ndarray:
    """(h, w) bool from COCO's polygons, or its run lengths, as numbers or packed."""
    try:
        if isinstance(segmentation, dict) and isinstance(segmentation["counts"], str | bytes):
            packed = segmentation
        else:
            packed = mask_util.frPyObjects(segmentation, *size)
            packed = mask_util.merge(packed) if isinstance(packed, list) else packed
        mask = mask_util.decode(packed).astype(bool)
    # pycocotools says "input type is not supported" with a bare Exception.
    except Exception as error:
        raise ValueError(
            f"the mask of annotation {name} must be COCO's polygons or run lengths; got something else ({error}): mend "
            "the annotations, or leave the mask out"
        ) from error
    if mask.shape != tuple(size):
        raise ValueError(
            f"the mask of annotation {name} must be of the image's size {size[1]} x {size[0]}; got {mask.shape[1]} x "
            f"{mask.shape[0]}: it is of another image"
        )
    return mask


def records_from_coco(
    annotations: str | os.PathLike, images: str | os.PathLike, class_names: Sequence[str] | None, num_classes: int
) -> list[dict]:
    """Records of a COCO file, in the order of its images.

    Unlike Detectron2's loader it keeps objects without a usable mask and what is marked with ``ignore``.

    Args:
        annotations: the json file.
        images: folder that its file names are in.
        class_names: the detector's classes, among which categories are found by name; None where they aren't known:
            then categories are taken by rising id, which is how Detectron2 numbers them for training.
        num_classes: of the detector.

    Raises:
        ValueError: if the file can't be read, isn't COCO's, its categories aren't the detector's, or `class_names` are
            of another number than its classes.
    """
    require_fitting_names(class_names, num_classes)
    try:
        content = json.loads(Path(annotations).read_text(encoding="utf-8"))
        names = {c["id"]: str(c["name"]) for c in sorted(content["categories"], key=lambda c: c["id"])}
        annotated = {item["category_id"] for item in content["annotations"]}
        numbers = class_numbers(names, annotated, class_names, num_classes, str(annotations))
        _require_classes(names, numbers, annotated, class_names, str(annotations))
        records = {
            one["id"]: {
                "file_name": str(Path(images) / one["file_name"]),
                "image_id": one["id"],
                "height": int(one["height"]),
                "width": int(one["width"]),
                "annotations": [],
            }
            for one in content["images"]
        }
        for item in content["annotations"]:
            kept = {key: item[key] for key in ("id", "segmentation", "iscrowd", "ignore") if key in item}
            box = [float(side) for side in item["bbox"]]
            kept |= {"bbox": box, "bbox_mode": BoxMode.XYWH_ABS, "category_id": numbers[item["category_id"]]}
            records[item["image_id"]]["annotations"].append(kept)
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"`annotations` must be a json file in the COCO format; got {str(annotations)!r}: {reason}"
        ) from error
    return list(records.values())


def _require_classes(
    categories: dict[Any, str], numbers: dict[Any, int], annotated: set, class_names: Sequence[str] | None, source: str
) -> None:
    """Raises ValueError where annotated objects are of a category that the detector doesn't know."""
    strangers = [name for key, name in categories.items() if key in annotated and key not in numbers]
    if strangers:
        known = list(class_names or ())
        raise ValueError(
            f"annotated categories must be classes of the detector; {source!r} has {list(categories.values())}, the "
            f"detector {known} and so no class for {describe_strangers(strangers, known)}: leave other categories out "
            "of the annotations, or name a data set of the detector's classes in DATASETS.TEST"
        )


def records_from_dataset(name: str, class_names: Sequence[str] | None, num_classes: int) -> list[dict]:
    """Records of a data set of Detectron2's catalog; arguments and errors as of :func:`records_from_coco`."""
    if name not in DatasetCatalog.list():
        raise ValueError(
            f"`dataset` must be registered; got {name!r}: choose one of {sorted(DatasetCatalog.list())}, import the "
            "file that registers it, or give annotations and images"
        )
    require_fitting_names(class_names, num_classes)
    try:
        records = DatasetCatalog.get(name)
    # Anyone can register a data set, and each fails in its own way; Detectron2's own asserts that nothing is ignored.
    except Exception as error:
        raise ValueError(
            f"`dataset` must be one that can be read; got {name!r}, which failed with {type(error).__name__}: {error}: "
            "mend it, or give a COCO file by --annotations and --images, which may hold what is marked with `ignore`"
        ) from error
    own = MetadataCatalog.get(name).get("thing_classes")
    if own is None:
        return records
    categories = dict(enumerate(own))
    annotated = {item["category_id"] for record in records for item in record.get("annotations", ())}
    numbers = class_numbers(categories, annotated, class_names, num_classes, name)
    _require_classes(categories, numbers, annotated, class_names, name)
    return [
        {
            **record,
            "annotations": [
                {**item, "category_id": numbers[item["category_id"]]} for item in record.get("annotations", ())
            ],
        }
        for record in records
    ]
