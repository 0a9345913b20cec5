"""The boxes in a line of an `.odgt` file, judged value by value."""

from collections.abc import Callable
from typing import Any

from detectron2.structures import BoxMode

from .values import MOST_PIXELS, UnusableError, flag, identity, number, numbers, shown

PERSON = "person"
# Tags that CrowdHuman has; what has another one is an ignore region, too, and the tag is told.
KNOWN_TAGS = (PERSON, "mask")


def read_box(place: int, item: Any, box: str) -> tuple[dict[str, Any], list[str]]:
    """The annotation of one of ``gtboxes``, see :func:`odam_d2.data.crowdhuman.load_crowdhuman`.

    Args:
        place: its number in the line.
        item: the entry.
        box: what ``bbox`` is, "full" or "visible".

    Returns:
        The annotation, and what was done to it.

    Raises:
        UnusableError: if its full box or its ``bbox`` can't be used, or ``extra.ignore`` can't be read.
    """
    if not isinstance(item, dict):
        raise UnusableError("the entry is no object", shown(item))
    repairs: list[str] = []

    def say(repair: str, repaired: bool = True) -> None:
        if repaired and repair not in repairs:
            repairs.append(repair)

    extra, head = _object(item, "extra", say), _object(item, "head_attr", say)
    full, repaired = corners(item, "fbox")
    require_size(full, item["fbox"])
    say("boxes of text", repaired)
    visible = _visible(item, full, box, say)
    ignored, repaired = _flag(extra, "extra.ignore")
    say("`ignore` as text, true, false or null", repaired)
    ignored = int(ignored or item.get("tag") != PERSON)
    boxes = {"full_box": full, "visible_box": visible}
    require_size(boxes[f"{box}_box"], item["fbox" if box == "full" else "vbox"])
    annotation = {
        "bbox": list(boxes[f"{box}_box"]),
        "bbox_mode": BoxMode.XYXY_ABS,
        "category_id": 0,
        "iscrowd": ignored,
        **boxes,
        "head_box": _head(item, say),
        "head_ignore": int(ignored or _head_ignored(head, say)),
        "box_id": _box_id(extra, place, say),
    }
    return annotation, repairs


def corners(item: dict, key: str) -> tuple[list[float], bool]:
    """A box as (x1, y1, x2, y2), and whether it was repaired.

    Raises:
        UnusableError: if it is missing, isn't four finite numbers, or lies absurdly far away.
    """
    if item.get(key) is None:
        raise UnusableError(f"`{key}` is missing")
    try:
        found, repaired = numbers(item[key])
    except UnusableError as error:
        raise UnusableError(f"`{key}` {error.reason}", error.detail) from error
    if len(found) != 4:
        raise UnusableError(f"`{key}` must be four numbers", shown(item[key]))
    x, y, width, height = found
    box = [x, y, x + width, y + height]
    if max(map(abs, box)) > MOST_PIXELS:
        raise UnusableError(f"`{key}` lies absurdly far away", shown(item[key]))
    return box, repaired


def require_size(box: list[float], value: Any) -> None:
    """Raises UnusableError for a box (x1, y1, x2, y2) without a size; `value` is shown."""
    if not (box[2] > box[0] and box[3] > box[1]):
        raise UnusableError("the box has no size", shown(value))


def _object(item: dict, key: str, say: Callable[[str], None]) -> dict:
    """An object that may be missing or null; anything else is as missing, with a word."""
    value = item.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        say(f"`{key}` that is no object, not used")
        return {}
    return value


def _visible(item: dict, full: list[float], box: str, say: Callable[..., None]) -> list[float]:
    """The visible box; where only the full one is to be found, that stands in for one that can't be used."""
    try:
        found, repaired = corners(item, "vbox")
        if found[2] < found[0] or found[3] < found[1]:
            raise UnusableError("the box has no size", shown(item["vbox"]))
    except UnusableError:
        if box == "visible":
            raise
        say("visible boxes that can't be used: the full box taken")
        return list(full)
    say("boxes of text", repaired)
    return found


def _head(item: dict, say: Callable[..., None]) -> list[float] | None:
    if item.get("hbox") is None:
        return None
    try:
        found, repaired = corners(item, "hbox")
    except UnusableError:
        say("head boxes that can't be used, left out")
        return None
    say("boxes of text", repaired)
    return found


def _flag(holder: dict, name: str) -> tuple[int, bool]:
    """``ignore`` of an object; any other number than 0 counts as 1, as in CrowdHuman's toolkit."""
    if "ignore" not in holder:
        return 0, False
    try:
        return flag(holder["ignore"])
    except UnusableError as error:
        try:
            return int(number(holder["ignore"])[0] != 0), True
        except UnusableError:
            raise UnusableError(f"`{name}` {error.reason}", error.detail) from error


def _head_ignored(head: dict, say: Callable[..., None]) -> int:
    try:
        ignored, repaired = _flag(head, "head_attr.ignore")
    except UnusableError:
        say("`head_attr.ignore` that can't be read: the head is ignored")
        return 1
    say("`ignore` as text, true, false or null", repaired)
    return ignored


def _box_id(extra: dict, place: int, say: Callable[..., None]) -> int | str:
    if extra.get("box_id") is None:
        return place
    try:
        ident, repaired = identity(extra["box_id"])
    except UnusableError:
        say("`box_id` that is no id: the number in the line taken")
        return place
    say("ids as text or with a decimal point", repaired)
    return ident
