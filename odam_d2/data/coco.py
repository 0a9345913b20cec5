"""Annotations as records: COCO files, read once and checked, and data sets of Detectron2's catalog.

Records are Detectron2's standard dicts: ``file_name``, ``height``, ``width``, ``image_id`` and ``annotations`` with
``bbox``, ``bbox_mode``, ``category_id`` (the detector's number) and, where known, ``id``, ``segmentation``, ``iscrowd``
and ``ignore``.
"""

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from .categories import class_numbers, require_fitting_names, require_known_categories

# In place of a class: the annotated category is none of the detector's.
UNKNOWN_CLASS = -1


def corners(annotation: dict) -> tuple[float, float, float, float]:
    """The box of a record's annotation, XYXY in pixels of the original image."""
    box = BoxMode.convert(list(annotation["bbox"]), annotation.get("bbox_mode", BoxMode.XYXY_ABS), BoxMode.XYXY_ABS)
    x1, y1, x2, y2 = box
    return x1, y1, x2, y2


def why_no_object(annotation: dict) -> str | None:
    """Why a record's annotation is no object to find: the one rule for reports and metrics.

    Returns:
        ``crowd`` for a group, ``ignored`` where it is marked with ``ignore``, ``empty`` for a box without a size, else
        None.
    """
    if annotation.get("iscrowd", 0):
        return "crowd"
    if annotation.get("ignore", 0):
        return "ignored"
    x1, y1, x2, y2 = corners(annotation)
    return None if x2 > x1 and y2 > y1 else "empty"


class CocoFile:
    """A COCO file of annotated boxes.

    Unlike Detectron2's loader it keeps objects without a usable mask, what is marked with ``ignore``, and categories
    that the detector doesn't know.

    Args:
        path: the json file.
        class_names: the detector's classes by number; categories are found among them by name. Default: the file's
            categories by rising id, which is how Detectron2 numbers them for training.
        num_classes: how many classes the detector has, which names and categories are checked against; None where
            there is no detector.
        images: folder that the file names are in; None to leave them as they are.

    Attributes:
        class_names: the name of each class, by its number.
        strangers: names of annotated categories that the detector has no class for.
        records: of each image, in the order of the file. ``height`` and ``width`` are missing where the file doesn't
            have them. An annotation of a stranger has the ``category_id`` UNKNOWN_CLASS and its name as ``category``.

    Raises:
        ValueError: if the file can't be read, isn't in the COCO format or contradicts itself, or its categories or
            `class_names` can't be the detector's classes; see :func:`odam_d2.data.categories.class_numbers`.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        class_names: Sequence[str] | None = None,
        num_classes: int | None = None,
        images: str | os.PathLike | None = None,
    ):
        self._path, self._given_names = str(path), class_names
        if num_classes is not None:
            require_fitting_names(class_names, num_classes)
        with _reading(path):
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            self._categories = _categories(content)
            self._annotated = {item["category_id"] for item in content["annotations"]}
        if num_classes is None:
            num_classes = len(self._categories) if class_names is None else len(class_names)
        self._numbers = class_numbers(self._categories, self._annotated, class_names, num_classes, self._path)
        by_number = {number: self._categories[key] for key, number in self._numbers.items()}
        self.class_names = tuple(class_names or (by_number[number] for number in range(num_classes)))
        self.strangers = [
            name for key, name in self._categories.items() if key in self._annotated and key not in self._numbers
        ]
        with _reading(path):
            by_id = self._read_images(content["images"], images)
            for item in content["annotations"]:
                self._add_annotation(item, by_id)
        self.records = list(by_id.values())

    def _read_images(self, images: list[dict], folder: str | os.PathLike | None) -> dict[Any, dict]:
        """Records without annotations, by id; also notes them by their file's name for :meth:`find`."""
        by_id: dict[Any, dict] = {}
        self._named: dict[str, list[tuple[PurePosixPath, dict]]] = {}
        for image in images:
            if image["id"] in by_id:
                raise ValueError(f"two images have the id {image['id']!r}")
            name = image["file_name"]
            size = {side: int(image[side]) for side in ("height", "width") if side in image}
            record = {
                "file_name": name if folder is None else str(Path(folder) / name),
                "image_id": image["id"],
                **size,
            }
            by_id[image["id"]] = {**record, "annotations": []}
            own = PurePosixPath(name)
            self._named.setdefault(own.name, []).append((own, by_id[image["id"]]))
        return by_id

    def _add_annotation(self, item: dict, by_id: dict[Any, dict]) -> None:
        name, box = item.get("id"), [float(side) for side in item["bbox"]]
        if len(box) != 4 or not all(map(math.isfinite, box)):
            raise ValueError(f"the bbox of annotation {name!r} must be four finite numbers; got {item['bbox']}")
        for key, known in (("image_id", by_id), ("category_id", self._categories)):
            if item[key] not in known:
                raise ValueError(f"annotation {name!r} has the {key} {item[key]!r}, which the file doesn't have")
        kept = {key: item[key] for key in ("id", "segmentation", "iscrowd", "ignore") if key in item}
        number = self._numbers.get(item["category_id"], UNKNOWN_CLASS)
        kept |= {"bbox": box, "bbox_mode": BoxMode.XYWH_ABS, "category_id": number}
        if number == UNKNOWN_CLASS:
            kept["category"] = self._categories[item["category_id"]]
        by_id[item["image_id"]]["annotations"].append(kept)

    def find(self, path: str | os.PathLike, height: int, width: int) -> dict | None:
        """The record of an image.

        Args:
            path: the image; found by its file name, and by its folders where several images share that.
            height: of the image, in pixels.
            width: of the image, in pixels.

        Returns:
            Its record; None if the file doesn't know the image.

        Raises:
            ValueError: if several images could be meant, or the annotated image is of another size.
        """
        parts, named = Path(path).resolve().parts, self._named.get(Path(path).name, [])
        fitting = [one for one in named if _is_tail(one[0].parts, parts)] or named
        if not fitting:
            return None
        longest = max(len(name.parts) for name, _ in fitting)
        best = [(name, record) for name, record in fitting if len(name.parts) == longest]
        if len(best) > 1:
            raise ValueError(
                f"the annotations must name an image once; got {[str(name) for name, _ in best]} for {str(path)!r}: "
                "give file names with their folders"
            )
        ((_, record),) = best
        size = (record.get("height", height), record.get("width", width))
        if size != (height, width):
            raise ValueError(
                f"the image must have its annotated size of {size[1]} x {size[0]}; got {width} x {height} for "
                f"{str(path)!r}: its boxes would lie elsewhere"
            )
        return record

    def known_records(self) -> list[dict]:
        """All records, of classes that the detector knows and with sizes.

        Raises:
            ValueError: if an object is of a category that the detector doesn't know, or an image has no size.
        """
        require_known_categories(self._categories, self._numbers, self._annotated, self._given_names, self._path)
        sizeless = [record["image_id"] for record in self.records if not {"height", "width"} <= record.keys()]
        if sizeless:
            raise ValueError(
                f"`annotations` must tell height and width of each image; got {self._path!r}, where image "
                f"{sizeless[0]!r} lacks them: add them"
            )
        return self.records


def records_from_coco(
    annotations: str | os.PathLike, images: str | os.PathLike, class_names: Sequence[str] | None, num_classes: int
) -> list[dict]:
    """Records of a COCO file, in the order of its images, all of classes that the detector knows.

    Args:
        annotations: the json file.
        images: folder that its file names are in.
        class_names: see :class:`CocoFile`.
        num_classes: of the detector.

    Raises:
        ValueError: as :class:`CocoFile` and :meth:`CocoFile.known_records`.
    """
    return CocoFile(annotations, class_names, num_classes, images).known_records()


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
    require_known_categories(categories, numbers, annotated, class_names, name)
    return [
        {
            **record,
            "annotations": [
                {**item, "category_id": numbers[item["category_id"]]} for item in record.get("annotations", ())
            ],
        }
        for record in records
    ]


def category_names(path: str | os.PathLike) -> tuple[str, ...]:
    """Names of a COCO file's categories by rising id, as Detectron2 numbers them; none where it can't be read."""
    try:
        return tuple(_categories(json.loads(Path(path).read_text(encoding="utf-8"))).values())
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def _categories(content: dict) -> dict[Any, str]:
    """Id -> name of each category, by rising id."""
    found = {one["id"]: str(one["name"]) for one in sorted(content["categories"], key=lambda one: one["id"])}
    if len(found) < len(content["categories"]):
        raise ValueError("two categories have the same id")
    return found


@contextmanager
def _reading(path: str | os.PathLike) -> Iterator[None]:
    """Turns what goes wrong with a file that isn't COCO's into one error that says so."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"`annotations` must be a json file in the COCO format; got {str(path)!r}: {reason}"
        ) from error


def _is_tail(tail: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    return parts[len(parts) - len(tail) :] == tail
