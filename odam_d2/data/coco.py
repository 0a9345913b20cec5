"""COCO files as records: the one place where annotations are read and judged.

Records are Detectron2's standard dicts: ``file_name``, ``height``, ``width``, ``image_id`` and ``annotations`` with
``bbox``, ``bbox_mode``, ``category_id`` (the detector's number) and, where known, ``id``, ``area``, ``segmentation``,
``iscrowd`` and ``ignore``.

What can be understood is repaired, what can't is left out, and both are counted: see
:class:`odam_d2.data.account.Account`. What contradicts itself is an error.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .account import ANNOTATIONS, IMAGES, MASKS, Account
from .boxes import check_box
from .categories import class_numbers, grouping_categories, listed, require_fitting_names, require_known_categories
from .coco_content import annotated_categories, read_categories, read_content, told_once
from .entries import Entry, attributes_without_use, read_annotation, read_reference
from .images_of_file import SIZE, FileImages, name_of
from .records import without_bad_mask
from .values import UnusableError, shown

# In place of a class: the annotated category is none of the detector's.
UNKNOWN_CLASS = -1
_IDS = "ids as text or with a decimal point"


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
        images: folder that the file names are in, also where their folders or prefixes differ; None to leave names as
            they are.
        leave_out_groups: where there are neither `class_names` nor `num_classes`, whether categories without objects
            that by their names group others or stand for the background are no classes.

    Attributes:
        class_names: the name of each class, by its number.
        numbers: the class of each category that is one of the detector's, by its id.
        strangers: names of annotated categories that the detector has no class for.
        records: of each image, in the order of the file. ``height`` and ``width`` are missing where neither the file
            nor the image tells them. An annotation of a stranger has the ``category_id`` UNKNOWN_CLASS and its name as
            ``category``.
        account: what became of the entries.
        sound: whether every entry is used as it is, and ids of annotations are as COCO's evaluation needs them:
            different, and none is 0, which it takes for "not matched".

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
        leave_out_groups: bool = False,
    ):
        self._path, self._given_names = str(path), class_names
        self.account = Account(self._path)
        if num_classes is not None:
            require_fitting_names(class_names, num_classes)
        with _reading(path):
            content = read_content(path, self.account.notes.append)
            self._categories, above = read_categories(content["categories"], self.account.notes.append)
            self._annotated = annotated_categories(content["annotations"])
        groups = grouping_categories(self._categories, above)
        if num_classes is None:
            idle = len(groups - self._annotated) if leave_out_groups else 0
            num_classes = len(self._categories) - idle if class_names is None else len(class_names)
        about = (self._categories, self._annotated, class_names, num_classes, self._path)
        self.numbers = class_numbers(*about, groups, self.account.notes.append)
        self.account.notes += self._without_objects(class_names)
        by_number = {number: self._categories[key] for key, number in self.numbers.items()}
        self.class_names = tuple(class_names or (by_number[number] for number in range(num_classes)))
        self._images = FileImages(self.account)
        self._places: dict[int | str, list[int]] = {}  # of the annotations of an image, in the file
        self._matched: dict[Path, dict] = {}
        with _reading(path):
            self._images.read(content["images"])
            if images is not None:
                self._images.locate(images)
            self._read_annotations(content["annotations"])
        if images is not None:
            self._images.tell_of_folder()
        self.records = list(self._images.by_id.values())
        unknown = Counter(
            item["category"] for record in self.records for item in record["annotations"] if "category" in item
        )
        self.strangers = list(dict.fromkeys(name for name in self._categories.values() if name in unknown))
        self.account.strangers({name: unknown[name] for name in self.strangers})

    def _without_objects(self, class_names: Sequence[str] | None) -> list[str]:
        """A sentence on categories that have no objects and are no classes of a detector whose names are known."""
        idle = [
            name for key, name in self._categories.items() if key not in self.numbers and key not in self._annotated
        ]
        if class_names is None or not idle:
            return []
        return [f"Categories without objects that the detector doesn't have are left out: {listed(sorted(idle), 8)}."]

    @property
    def sound(self) -> bool:
        """See the class."""
        counts = [self.account.count(kind) for kind in (IMAGES, ANNOTATIONS, MASKS)]
        return self._sound_ids and all(count["all"] == count["as_they_are"] for count in counts)

    def _read_annotations(self, items: list) -> None:
        without_use: Counter[str] = Counter()
        seen: dict[int | str, list[dict]] = {}
        self._sound_ids = True
        for place, item in enumerate(items):
            name, image = name_of(item, place), None
            try:
                record, repaired = self._record_of(item)
                image = self._images.names[record["image_id"]].file_name
                entry, mask = self._judge(item, record)
                if repaired:
                    entry.repairs.append(_IDS)
                self._note_id(item, entry, seen)
            except UnusableError as error:
                self.account.leave_out(ANNOTATIONS, name, image, error)
                continue
            self.account.add(ANNOTATIONS, place, name, dict.fromkeys(entry.repairs))
            without_use += attributes_without_use(item)
            if isinstance(mask, UnusableError):
                self.account.leave_out(MASKS, name, image, mask)
            elif mask is not None:
                entry.values |= mask.values
                self.account.add(MASKS, place, name, mask.repairs)
            record["annotations"].append(entry.values)
            self._places.setdefault(record["image_id"], []).append(place)
        self.account.notes += told_once(without_use)

    def _record_of(self, item: Any) -> tuple[dict, bool]:
        image_id, repaired = read_reference(item, "image_id")
        if image_id not in self._images.by_id:
            raise UnusableError("its image is none that was read", f"image_id {shown(image_id)}")
        return self._images.by_id[image_id], repaired

    def _judge(self, item: dict, record: dict) -> tuple[Entry, Entry | UnusableError | None]:
        category, repaired = read_reference(item, "category_id")
        if category not in self._categories:
            raise UnusableError("its category is none of the file's", f"category_id {shown(category)}")
        entry, mask = read_annotation(item, _size(record))
        if repaired:
            entry.repairs.append(_IDS)
        number = self.numbers.get(category, UNKNOWN_CLASS)
        entry.values["category_id"] = number
        if number == UNKNOWN_CLASS:
            entry.values["category"] = self._categories[category]
        return entry, mask

    def _note_id(self, item: dict, entry: Entry, seen: dict[int | str, list[dict]]) -> None:
        """Notes an annotation's id; raises UnusableError for one that is there a second time, value by value."""
        ident = entry.values.get("id")
        self._sound_ids &= ident not in (None, 0)
        if ident is None:
            return
        if any(item == other for other in seen.get(ident, ())):
            raise UnusableError("the same entry again")
        if ident in seen:
            entry.repairs.append("an id that another annotation has too; both are kept")
        seen.setdefault(ident, []).append(item)

    def match(self, paths: Iterable[Path]) -> int:
        """Finds the records of the images of a run, for :meth:`use`, and tells the account what isn't used.

        Args:
            paths: all images of the run.

        Returns:
            How many of them have a record.

        Raises:
            ValueError: if it can't be told which image an entry means; the message names both.
        """
        self._matched = self._images.match(paths)
        return len(self._matched)

    def example(self) -> str:
        """The first image's file name, for messages."""
        return next((repr(name.file_name) for name in self._images.names.values()), "those of the file, which has none")

    def use(self, path: Path, height: int, width: int, strict: bool = False) -> dict | None:
        """The record of an image of the run, see :meth:`match`.

        Args:
            path: one of those that were matched.
            height: of the image, in pixels.
            width: of the image, in pixels.
            strict: whether annotations of another size are an error.

        Returns:
            Its record; None if the file doesn't know the image, or knows it with another size: then its annotations
            are left out, and the account says so.

        Raises:
            ValueError: if the image is of another size, where that is an error.
        """
        record = self._matched.get(path)
        if record is None:
            return None
        try:
            return self._fitted(record, path, height, width)
        except ValueError:
            if strict:
                raise
        error = UnusableError("the image has another size than the file says", f"{width} x {height}, width x height")
        image = self._images.names[record["image_id"]].file_name
        places = self._places.pop(record["image_id"], [])
        for place, item in zip(places, record["annotations"], strict=True):
            self.account.take_back(ANNOTATIONS, place, item.get("id", place), image, error)
        record["annotations"] = []
        return None

    def find(self, path: str | os.PathLike, height: int, width: int) -> dict | None:
        """The record of one image.

        Args:
            path: the image; found by its file name, and by its folders where several images share that.
            height: of the image, in pixels.
            width: of the image, in pixels.

        Returns:
            Its record; None if the file doesn't know the image.

        Raises:
            ValueError: if several images could be meant, or the annotated image is of another size.
        """
        record = self._images.find_one(Path(path))
        return None if record is None else self._fitted(record, path, height, width)

    def _fitted(self, record: dict, path: str | os.PathLike, height: int, width: int) -> dict:
        """The record, its annotations judged by the image's size where the file didn't tell it."""
        size = _size(record)
        if size is None:
            record |= dict(zip(SIZE, (height, width), strict=True))
            self._judge_again(record)
        elif size != (height, width):
            raise ValueError(
                f"the image must have its annotated size of {size[1]} x {size[0]}; got {width} x {height} for "
                f"{str(path)!r}: its boxes would lie elsewhere"
            )
        return record

    def _judge_again(self, record: dict) -> None:
        ident, size, kept = record["image_id"], _size(record), []
        image = self._images.names[ident].file_name
        for place, item in zip(self._places.get(ident, []), record["annotations"], strict=True):
            name = item.get("id", place)
            try:
                check_box(item["bbox"], size)
            except UnusableError as error:
                self.account.take_back(ANNOTATIONS, place, name, image, error)
                continue
            kept.append((place, without_bad_mask(item, size, place, name, image, self.account, counted=True)))
        self._places[ident], record["annotations"] = [place for place, _ in kept], [item for _, item in kept]

    def known_records(self, sized: bool = True) -> list[dict]:
        """All records, of classes that the detector knows and with sizes.

        Args:
            sized: whether images without a size are left out.

        Raises:
            ValueError: if an object is of a category that the detector doesn't know.
        """
        known = {key for key, name in self._categories.items() if key in self.numbers or name in self.strangers}
        require_known_categories(self._categories, self.numbers, known, self._given_names, self._path)
        for record in [one for one in self.records if sized and _size(one) is None]:
            ident, error = record["image_id"], UnusableError("no size, and the image can't be read")
            name = self._images.names[ident].file_name
            self.account.take_back(IMAGES, self._images.places[ident], ident, name, error)
            self.records.remove(record)
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


def category_names(path: str | os.PathLike, num_classes: int | None = None) -> tuple[str, ...]:
    """Names of a COCO file's categories by rising id, as Detectron2 numbers them; none where it can't be read.

    Args:
        path: the json file.
        num_classes: of the detector, to leave groups and the background out where that makes the names as many.
    """
    try:
        content = read_content(path, needed=("categories",))
        names, above = read_categories(content["categories"])
    except ValueError:
        return ()
    about = (names, annotated_categories(content["annotations"]), None, num_classes or len(names), str(path))
    try:
        numbers = class_numbers(*about, grouping_categories(names, above), lambda _: None)
    except ValueError:  # they are of another number: the caller says so
        return tuple(names.values())
    return tuple(names[key] for key in numbers)


def _size(record: dict) -> tuple[int, int] | None:
    return (record["height"], record["width"]) if all(side in record for side in SIZE) else None


@contextmanager
def _reading(path: str | os.PathLike) -> Iterator[None]:
    """Names the file, and what it must be, in what is wrong with it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"`annotations` must be a json file in the COCO format; got {str(path)!r}: {error}") from error
