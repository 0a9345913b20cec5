"""Which class each category of an annotation file is."""

import logging

import pytest

from odam_d2.data.categories import class_numbers, describe_strangers, require_fitting_names

NAMES = {3: "cat", 7: "dog", 9: "car"}


def test_names_decide_where_they_are_known():
    assert class_numbers(NAMES, {3}, ("dog", "mouse", "cat"), 3, "a.json") == {3: 2, 7: 0}


def test_rising_ids_decide_where_they_are_not():
    assert class_numbers({9: "car", 3: "cat", 7: "dog"}, set(), None, 3, "a.json") == {3: 0, 7: 1, 9: 2}


@pytest.mark.parametrize("names", [("cat", "dog"), ("cat", "dog", "car", "tree")])
def test_names_of_another_number_of_classes(names):
    with pytest.raises(ValueError, match=rf"got {len(names)} names, \['cat', 'dog'.*\], for 3 classes.*DATASETS\.TEST"):
        class_numbers(NAMES, set(), names, 3, "a.json")
    require_fitting_names(None, 3)


def test_a_group_without_objects_is_left_out_with_a_word(caplog):
    grouped = {0: "animals", **NAMES}
    with caplog.at_level(logging.WARNING, logger="odam_d2"):
        assert class_numbers(grouped, {7}, None, 3, "a.json") == {3: 0, 7: 1, 9: 2}
    assert "Category 0, 'animals', of 'a.json' is left out" in caplog.text


@pytest.mark.parametrize(
    "categories, annotated, classes",
    [
        ({0: "animals", **NAMES}, {0, 7}, 3),  # it has objects: no group
        ({1: "animals", **NAMES}, {7}, 3),  # nobody groups by 1
        ({0: "animals", **NAMES}, {7}, 2),
        (NAMES, {3, 7, 9}, 80),
        ({}, set(), 1),
    ],
)
def test_categories_that_can_not_be_counted_through(categories, annotated, classes):
    listed = r"\[" + ", ".join(repr(name) for name in categories.values()) + r"\]"
    with pytest.raises(ValueError, match=f"'a.json' has {len(categories)}, {listed}, the detector {classes} classes"):
        class_numbers(categories, annotated, None, classes, "a.json")


def test_strangers_are_told_with_the_nearest_class():
    described = describe_strangers(["Dog", "persons", "zebra"], ["person", "dog", "car"])
    assert described == "'Dog' (nearest: 'dog'), 'persons' (nearest: 'person'), 'zebra'"
