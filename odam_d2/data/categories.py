"""Which class of a detector each category of an annotation file is, and whether names are those of its classes.

This is decided in one place only, because a category taken for another class is a wrong label without an error.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any


def require_fitting_names(class_names: Sequence[str] | None, num_classes: int) -> None:
    """Raises ValueError where there are names, but not one for each class: they are those of another data set."""
    if class_names is not None and len(class_names) != num_classes:
        raise ValueError(
            f"`class_names` must name each class of the detector; got {len(class_names)} names, {list(class_names)}, "
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
) -> dict[Any, int]:
    """The detector's class of each category that is one of its classes.

    With names, categories are found by name. Without, they are taken by rising id, as Detectron2 numbers them for
    training, and must be as many as there are classes; a category 0 without annotations, which groups the others in
    the files of some tools, is left out where that makes them as many.

    Args:
        categories: id -> name.
        annotated: ids of categories that annotations have.
        class_names: of the detector, by number; None where they aren't known.
        num_classes: of the detector.
        file: what errors call the annotations.

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
    ids = sorted(categories)
    if len(ids) == num_classes + 1 and ids[0] == 0 and 0 not in annotated:
        logger = logging.getLogger(__name__)
        logger.warning(f"Category 0, {categories[0]!r}, of {file!r} is left out: it has no objects")
        ids = ids[1:]
    if len(ids) == num_classes:
        return {key: number for number, key in enumerate(ids)}
    raise ValueError(
        f"categories of `annotations` must be classes of the detector; {file!r} has {len(categories)}, "
        f"{list(categories.values())}, the detector {num_classes} classes without names: leave other categories out of "
        "the file, or name a data set of the detector's classes in DATASETS.TEST"
    )


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
            f"annotated categories must be classes of the detector; {file!r} has {list(categories.values())}, the "
            f"detector {known} and so no class for {describe_strangers(strangers, known)}: leave other categories out "
            "of the annotations, or name a data set of the detector's classes in DATASETS.TEST"
        )


def describe_strangers(strangers: Sequence[str], class_names: Sequence[str]) -> str:
    """Names of categories that no class has, each with the nearest class where there is one near."""
    lower = {name.casefold(): name for name in class_names}
    described = []
    for name in strangers:
        near = get_close_matches(name.casefold(), lower, n=1)
        described.append(f"{name!r} (nearest: {lower[near[0]]!r})" if near else repr(name))
    return ", ".join(described)
