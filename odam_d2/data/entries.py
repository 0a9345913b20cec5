"""The entries of a COCO file, one at a time: images, categories and annotations as records, judged value by value."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from detectron2.structures import BoxMode

from .boxes import check_box
from .image_names import ImageName, other_name
from .segmentations import box_of_segmentation, check_segmentation
from .values import UnusableError, flag, identity, number, shown, side, text

Size = tuple[int, int]
# What COCO's annotations of boxes and masks have; anything else is told once, since nothing uses it.
_KNOWN = {"id", "image_id", "category_id", "bbox", "segmentation", "area", "iscrowd", "ignore"}
_ROTATIONS = ("rotation", "angle", "theta")


@dataclass
class Entry:
    """An entry that was read.

    Attributes:
        values: what it holds, by COCO's keys.
        repairs: what was done to it.
    """

    values: dict[str, Any]
    repairs: list[str] = field(default_factory=list)

    def take(self, key: str, checked: tuple[Any, bool], repair: str) -> None:
        """Takes a value that was checked; `repair` says what was done to it if it was repaired."""
        self.values[key], repaired = checked
        if repaired:
            self.repairs.append(repair)


def required(item: dict, key: str) -> Any:
    """A value that must be there; UnusableError where it isn't."""
    if key not in item:
        raise UnusableError(f"`{key}` is missing")
    return item[key]


def read_image(item: Any) -> Entry:
    """An image's entry: ``id``, ``name`` (an ImageName), and ``height`` and ``width`` where they are usable.

    Raises:
        UnusableError: if it has no usable id or name.
    """
    entry = Entry({})
    entry.take("id", _checked("id", identity, required(_object(item), "id")), "ids as text or with a decimal point")
    original = other_name(item)
    try:
        name, repaired = _checked("file_name", text, required(item, "file_name"))
    except UnusableError:
        if original is None:
            raise
        name, repaired = original, True
    if "\0" in name:
        raise UnusableError("`file_name` holds a character that no name can have", shown(name))
    if repaired:
        entry.repairs.append("file names that were no text")
    # Where the name itself is repaired, characters that only some file systems know must stay.
    given = item.get("file_name")
    entry.values["name"] = ImageName(given if isinstance(given, str) and given.strip() else name, original)
    try:
        sides = {key: side(item[key]) for key in ("height", "width")}
    except (KeyError, UnusableError):
        if not set(item.keys()).isdisjoint(("height", "width")):
            entry.repairs.append("sizes that can't be used, taken from the image")
    else:
        for key, checked in sides.items():
            entry.take(key, checked, "sizes as text or with a decimal point")
    return entry


def read_category(item: Any) -> Entry:
    """A category's ``id`` and ``name``, and its ``supercategory`` where it has one.

    Raises:
        UnusableError: if one can't be used.
    """
    entry = Entry({})
    entry.take("id", _checked("id", identity, required(_object(item), "id")), "ids as text or with a decimal point")
    entry.take("name", _checked("name", text, required(item, "name")), "names that were no text")
    if isinstance(item.get("supercategory"), str):
        entry.values["supercategory"] = item["supercategory"]
    return entry


def read_reference(item: Any, key: str) -> tuple[int | str, bool]:
    """The ``image_id`` or ``category_id`` of an annotation, and whether it was repaired.

    Raises:
        UnusableError: if it can't be used.
    """
    return _checked(key, identity, required(_object(item), key))


def read_annotation(item: dict, size: Size | None) -> tuple[Entry, Entry | UnusableError | None]:
    """What an annotation says of its object, and its mask.

    Args:
        item: the entry.
        size: (h, w) of its image in pixels, where it is known.

    Returns:
        ``id`` (missing where it is), ``bbox`` (x, y, width, height) with its ``bbox_mode``, ``iscrowd`` and ``ignore``
        as far as they are given, and ``area``; and the ``segmentation`` as an entry of its own: None where there is
        none, the error where it can't be used.

    Raises:
        UnusableError: if the box can't be used and there is no mask to take it from, or a flag can't be read.
    """
    entry = Entry({})
    if item.get("id") is not None:
        entry.take("id", _checked("id", identity, item["id"]), "ids as text or with a decimal point")
    mask: Entry | UnusableError | None
    try:
        found, repairs = check_segmentation(item.get("segmentation"), size)
        mask = None if found is None else Entry({"segmentation": found}, repairs)
    except UnusableError as error:
        mask = error
    try:
        entry.take("bbox", check_box(required(item, "bbox"), size), "boxes of text")
    except UnusableError as error:
        around = box_of_segmentation(mask.values["segmentation"]) if isinstance(mask, Entry) else None
        if around is None or _is_box(item.get("bbox")):
            raise
        entry.values["bbox"] = check_box(around, size)[0]
        entry.repairs.append(f"{error.reason}: taken from the mask")
    entry.values["bbox_mode"] = BoxMode.XYWH_ABS
    for key in ("iscrowd", "ignore"):
        if key in item:
            entry.take(key, _checked(key, flag, item[key]), f"`{key}` as text, true, false or null")
    try:
        area, _ = number(item.get("area"))
    except UnusableError:  # nothing but COCO's own evaluation asks for it, and that can do without
        area = 0.0
    if area > 0:
        entry.values["area"] = area
    return entry, mask


def _is_box(value: Any) -> bool:
    """Whether a box that is refused is one all the same, of an object elsewhere."""
    try:
        found, _ = check_box(value, None)
    except UnusableError:
        return False
    return bool(found)


def attributes_without_use(item: dict) -> Counter[str]:
    """Names of what an annotation has that nothing uses; ``rotation`` for a box that is turned."""
    if item.keys() <= _KNOWN:
        return Counter()
    names = Counter(str(key) for key in item if key not in _KNOWN and key not in ("attributes", *_ROTATIONS))
    own = item.get("attributes")
    held = own if isinstance(own, dict) else {}
    names.update(f"attributes.{key}" for key in held if key not in _ROTATIONS)
    if own is not None and not isinstance(own, dict):
        names["attributes"] += 1
    if any(_is_turned(place.get(key)) for place in (item, held) for key in _ROTATIONS):
        names["rotation"] += 1
    return names


def _is_turned(value: Any) -> bool:
    try:
        return number(value)[0] % 360 != 0
    except UnusableError:
        return False


def _object(item: Any) -> dict:
    if not isinstance(item, dict):
        raise UnusableError("the entry is no object", shown(item))
    return item


def _checked(key: str, check: Any, value: Any) -> tuple[Any, bool]:
    try:
        return check(value)
    except UnusableError as error:
        raise UnusableError(f"`{key}` {error.reason}", error.detail) from error
