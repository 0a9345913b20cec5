"""Accounts add up, say the most frequent first, and hold everything for the files of a run."""

import json

import pytest

from odam_d2.data.account import ANNOTATIONS, IMAGES, MASKS, Account
from odam_d2.data.values import UnusableError


def account() -> Account:
    found = Account("a.json")
    found.add(IMAGES, 0, "x.jpg")
    for place in range(6):
        found.add(ANNOTATIONS, place, 10 + place, ["text"] if place < 2 else [])
    found.repair(ANNOTATIONS, 0, 10, "something else")
    found.leave_out(ANNOTATIONS, 20, "x.jpg", UnusableError("no size", "[1, 2, 0, 0]"))
    found.leave_out(ANNOTATIONS, 21, None, UnusableError("no image", "image_id 9"))
    found.take_back(ANNOTATIONS, 1, 11, "x.jpg", UnusableError("no size", "[3]"))
    found.add(MASKS, 3, 13)
    return found


def test_accounts_add_up():
    found = account()
    # Of eight, two were repaired, of which one was left out after all, and two more were.
    assert found.count(ANNOTATIONS) == {"all": 8, "as_they_are": 4, "repaired": 1, "left_out": 3}
    assert found.count(IMAGES) == {"all": 1, "as_they_are": 1, "repaired": 0, "left_out": 0}
    told = json.loads(json.dumps(found.as_json()))
    assert told["annotations"] == found.count(ANNOTATIONS) and len(told["left_out"]) == 3
    assert told["left_out"][0] == {
        "kind": "annotation", "id": 20, "image": "x.jpg", "reason": "no size", "detail": "[1, 2, 0, 0]",
    }  # fmt: skip
    assert told["repaired"][0] == {"kind": "annotation", "repair": "text", "count": 2, "examples": [10, 11]}


def test_a_few_lines_for_the_terminal():
    assert account().lines() == [
        "Annotations a.json: 1 image, 8 annotations (1 repaired, 3 left out), 1 mask.",
        "  left out: 2 annotations, no size, e.g. annotation 20 of image 'x.jpg': [1, 2, 0, 0]",
        "  left out: 1 annotation, no image, e.g. annotation 21: image_id 9",
        "  repaired: 2 annotations, text, e.g. annotation 10",
        "  repaired: 1 annotation, something else, e.g. annotation 10",
    ]
    many = Account("b.json")
    for number in range(9):
        many.leave_out(ANNOTATIONS, number, None, UnusableError(f"reason {number}"))
    assert len(many.lines()) == 6 and many.lines()[-1] == "  left out: and 5 more kinds, see the files of the run"
    # However many kinds are left out, what no image used and what has no entry is told.
    many.unused("gone.jpg", 3)
    assert len(many.lines()) == 7 and many.lines()[-1].startswith("  not used: 3 annotations of 1 image")


def test_the_page_holds_it_whole():
    page = account().as_page()
    assert page["annotations"] == "8: 4 as they are, 1 repaired, 3 left out" and len(page["left out"]) == 3
    assert page["left out"][0] == "annotation 20 of image 'x.jpg': [1, 2, 0, 0]: no size" and "notes" not in page


def test_what_strict_means():
    clean = Account("a.json")
    clean.add(ANNOTATIONS, 0, 1, ["text"])  # what is repaired is used
    clean.notes.append("A note.")
    clean.unused("background.jpg", 0)  # an image without objects
    clean.require_nothing_lost()
    for lose in (
        lambda one: one.leave_out(MASKS, 1, None, UnusableError("bad")),
        lambda one: one.unused("x.jpg", 2),
        lambda one: one.unnamed(["y.jpg"]),
        lambda one: one.unexplained("x.jpg", [1, 2, 3, 4]),
        lambda one: one.strangers({"Dog": 1}),
    ):
        lossy = Account("a.json")
        lose(lossy)
        with pytest.raises(ValueError, match="`--strict` must find .* of 'a.json': .*: mend the annotations"):
            lossy.require_nothing_lost()
