"""What a COCO file holds as a whole: its lists, its categories, and what of it nothing uses."""

import os
from collections import Counter
from collections.abc import Callable, Collection

from .categories import by_rising_id
from .entries import read_category, read_reference
from .json_files import read_json
from .values import UnusableError, shown

_LISTS = ("images", "annotations", "categories")
_MOST_NAMES = 8


def read_content(
    path: str | os.PathLike,
    say: Callable[[str], None] = lambda _: None,
    needed: Collection[str] = ("images", "categories"),
) -> dict[str, list]:
    """The lists of a COCO file: ``images``, ``annotations`` and ``categories``.

    Args:
        path: the json file.
        say: is told what was done to read it, a sentence each.
        needed: those that it must have; others are empty where it doesn't.

    Raises:
        ValueError: if it can't be read or is something else; what is wrong, without the file's name.
    """
    content, repair = read_json(path)
    if repair:
        say(f"{repair[0].upper()}{repair[1:]}.")
    if isinstance(content, list):
        if any(isinstance(one, dict) and "score" in one for one in content):
            raise ValueError(
                "it is a list of detections, not annotations: give the file with images, annotations and categories "
                "that they are scored against"
            )
        raise ValueError(f"it is a list of {len(content)} entries: give an object with {', '.join(_LISTS)}")
    if not isinstance(content, dict):
        raise ValueError(f"it holds {shown(content)}: give an object with {', '.join(_LISTS)}")
    lists = {}
    for key in _LISTS:
        value = content.get(key)
        if value is None and key not in needed:
            say(f"The file has no `{key}`.")
            value = []
        if value is None:
            raise ValueError(f"{key!r} is missing: give an object with {', '.join(_LISTS)}")
        if not isinstance(value, list):
            raise ValueError(f"{key!r} must be a list; it is {shown(value)}: write it as COCO does")
        lists[key] = value
    return lists


def read_categories(
    items: list, say: Callable[[str], None] = lambda _: None
) -> tuple[dict[int | str, str], dict[int | str, str]]:
    """Id -> name of each category, by rising id; and id -> supercategory of those that have one.

    Unlike other entries none is left out: the numbers of the classes depend on all of them.

    Args:
        items: the entries.
        say: is told what was repaired, a sentence each.

    Raises:
        ValueError: if one can't be used, or an id has two names.
    """
    names: dict[int | str, str] = {}
    above: dict[int | str, str] = {}
    repairs: Counter[str] = Counter()
    for place, item in enumerate(items):
        try:
            entry = read_category(item)
        except UnusableError as error:
            raise ValueError(
                f"category number {place + 1} of the file must have an id and a name, but {error}: mend it, since "
                "classes are numbered by the categories"
            ) from error
        ident, name = entry.values["id"], entry.values["name"]
        if names.setdefault(ident, name) != name:
            raise ValueError(
                f"two categories have the id {ident!r}: {names[ident]!r} and {name!r}: give each category its own id"
            )
        repairs.update(entry.repairs)
        if "supercategory" in entry.values:
            above[ident] = entry.values["supercategory"]
    for repair, count in repairs.items():
        say(f"Repaired in {count} of the categories: {repair}.")
    return {ident: names[ident] for ident in sorted(names, key=by_rising_id)}, above


def annotated_categories(items: list) -> set[int | str]:
    """Ids of the categories that annotations have."""
    found = set()
    for item in items:
        try:
            found.add(read_reference(item, "category_id")[0])
        except UnusableError:  # the annotation is left out, with a word
            continue
    return found


def told_once(without_use: Counter[str]) -> list[str]:
    """Sentences on what annotations have that nothing uses.

    Args:
        without_use: how many annotations have each; ``rotation`` for boxes that are turned.
    """
    names = Counter(without_use)
    turned, told = names.pop("rotation", 0), []
    if turned:
        boxes = "1 box" if turned == 1 else f"{turned} boxes"
        told.append(f"The rotation of {boxes} is not used: a box is taken as upright, as `bbox` has it.")
    if names:
        listed = [f"{shown(name)} ({count})" for name, count in names.most_common(_MOST_NAMES)]
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        told.append(f"Not used, with the number of annotations that have it: {', '.join(listed)}{more}.")
    return told
