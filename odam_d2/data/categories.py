"""Which class of a detector each category of an annotation file is, and whether names are those of its classes.

This is decided in one place only, because a category taken for another class is a wrong label without an error.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

_LOGGER = logging.getLogger(__name__)
# What tools call a category that isn't one.
_MOST_STRANGERS = 20
_LONGEST_NAME = 60  # characters of a name in a message
_NO_OBJECTS = ("background", "ignore", "none")


def require_fitting_names(class_names: Sequence[str] | None, num_classes: int) -> None:
    """Raises ValueError where there are names, but not one for each class: they are those of another data set."""
    if class_names is not None and len(class_names) != num_classes:
        raise ValueError(
            f"`class_names` must name each class of the detector; got {len(class_names)} names, {listed(class_names)}, "
            f"for {num_classes} classes: the config, or one that it inherits from, has a data set of other classes in "
            "DATASETS, so name one of the detector's classes in DATASETS.TEST, or none there and in DATASETS.TRAIN to "
            "take categories by rising id"
        )


def class_numbers(
    categories: Mapping[Any, str],
    annotated: Collection[Any],
    class_names: Sequence[str] | None,
    num_classes: int,
    file: str,
    groups: Collection[Any] = (),
    say: Callable[[str], None] = _LOGGER.warning,
) -> dict[Any, int]:
    """The detector's class of each category that is one of its classes.

    With names, categories are found by name. Without, they are taken by rising id, as Detectron2 numbers them for
    training, and must be as many as there are classes; categories without annotations that group the others or stand
    for the background, in the files of some tools, are left out where that makes them as many: category 0 and `groups`.

    Args:
        categories: id -> name.
        annotated: ids of categories that annotations have.
        class_names: of the detector, by number; None where they aren't known.
        num_classes: of the detector.
        file: what errors call the annotations.
        groups: ids of categories that by their names stand for others or for the background.
        say: is told which categories are left out; default a warning in the log.

    Returns:
        Category id -> class; a category that isn't a class of the detector is missing.

    Raises:
        ValueError: if names are of another number than classes; if there are none and the categories can't be counted
            through.
    """
    require_fitting_names(class_names, num_classes)
    if class_names is not None:
        numbers = {name: number for number, name in enumerate(class_names)}
        return {key: numbers[name] for key, name in categories.items() if name in numbers}
    ids = sorted(categories, key=by_rising_id)
    idle = [key for key in ids if key not in annotated]
    by_name = [key for key in idle if key in groups]
    for spare in ([], [key for key in idle if key == 0 or key in groups], by_name, [key for key in idle if key == 0]):
        if len(ids) - len(spare) == num_classes:
            for key in spare:
                say(f"Category {key!r}, {categories[key]!r}, of {file!r} is left out: it has no objects")
            return {key: number for number, key in enumerate(key for key in ids if key not in spare)}
    raise ValueError(
        f"categories of `annotations` must be classes of the detector; {file!r} has {len(categories)}, "
        f"{listed(list(categories.values()))}, the detector {num_classes} classes without names: leave other "
        "categories out of the file, or name a data set of the detector's classes in DATASETS.TEST"
    )


def by_rising_id(key: int | str) -> tuple[bool, int | str]:
    """Sorts ids: numbers by value, text after them."""
    return isinstance(key, str), key


def grouping_categories(names: Mapping[Any, str], supercategories: Mapping[Any, str]) -> set[Any]:
    """Ids of categories that by their names are no objects: the background, or what other categories belong to.

    Args:
        names: id -> name.
        supercategories: id -> the group that it belongs to, where the file tells.
    """
    above = {key: {group for other, group in supercategories.items() if other != key} for key in names}
    return {key for key, name in names.items() if name in above[key] or name.strip("_ ").casefold() in _NO_OBJECTS}


def require_known_categories(
    categories: Mapping[Any, str],
    numbers: Mapping[Any, int],
    annotated: Collection[Any],
    class_names: Sequence[str] | None,
    file: str,
) -> None:
    """Raises ValueError where annotated objects are of a category that is none of the detector's classes.

    Args:
        categories: id -> name.
        numbers: what :func:`class_numbers` gave for them.
        annotated: see there, as the next two.
        class_names: of the detector.
        file: what errors call the annotations.
    """
    strangers = [name for key, name in categories.items() if key in annotated and key not in numbers]
    if strangers:
        known = list(class_names or ())
        raise ValueError(
            f"annotated categories must be classes of the detector; {file!r} has {listed(list(categories.values()))}, "
            f"the detector {listed(known)} and so no class for {describe_strangers(strangers, known)}: leave other "
            "categories out of the annotations, or name a data set of the detector's classes in DATASETS.TEST"
        )


def listed(names: Sequence[str], most: int = 100) -> str:
    """Names in a message: long ones, and long lists of them, are cut."""
    shown = ", ".join(
        repr(name) if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]!r}..." for name in names[:most]
    )
    return f"[{shown}]" + (f" and {len(names) - most} more" if len(names) > most else "")


def _cut(name: str) -> str:
    return repr(name) if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]!r}..."


def describe_strangers(strangers: Sequence[str], class_names: Sequence[str]) -> str:
    """Names of categories that no class has, each with the nearest class where there is one near."""
    lower = {name.casefold(): name for name in class_names}
    described = []
    for name in strangers:
        near = get_close_matches(name.casefold(), lower, n=1)
        described.append(f"{_cut(name)} (nearest: {lower[near[0]]!r})" if near else _cut(name))
    more = f" and {len(described) - _MOST_STRANGERS} more" if len(described) > _MOST_STRANGERS else ""
    return ", ".join(described[:_MOST_STRANGERS]) + more
