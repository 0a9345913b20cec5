"""Who is to be found in a crowd, and how much each is hidden."""

import numpy as np
import pytest

from odam_d2.evaluation.crowd.objects import CrowdObjects, overlaps
from tests.evaluation.crowds import annotation, record


def test_boxes_are_as_annotated_and_ratios_are_of_whole_boxes():
    # A full box of 10 x 20 of which the lower half is beyond the image; half of what is left is seen: a quarter.
    image = record([([0, 90, 10, 110], [0, 90, 10, 95])], [[90, 90, 120, 120]])
    objects = CrowdObjects.of(image)
    assert objects.boxes.tolist() == [[0, 90, 10, 110]] and objects.ignored.tolist() == [[90, 90, 120, 120]]
    assert objects.visible.tolist() == [0.25] and objects.crowding.tolist() == [0.0]
    assert CrowdObjects.of(image, "visible").boxes.tolist() == [[0, 90, 10, 95]]
    with pytest.raises(ValueError, match="`box` must be one of .*; got 'head'"):
        CrowdObjects.of(image, "head")


def test_subsets_at_their_borders():
    # Boxes of 10 x 100 far apart, seen down to 90, 89, 65 and 64 of 100 rows.
    people = [
        ([20.0 * k, 0, 20 * k + 10, 100], [20.0 * k, 0, 20 * k + 10, rows]) for k, rows in enumerate((90, 89, 65, 64))
    ]
    subsets = CrowdObjects.of(record(people)).subsets()
    assert {name: np.flatnonzero(subsets[name]).tolist() for name in ("all", "bare", "partial", "heavy")} == {
        "all": [0, 1, 2, 3], "bare": [0], "partial": [1, 2], "heavy": [3],
    }  # fmt: skip
    assert subsets["crowd_bare"].all()


@pytest.mark.parametrize(
    "shift, iou, name",
    [
        (7, 6 / 20, "crowd_bare"),  # two boxes 13 wide, 6 in common: exactly .3
        (6, 7 / 19, "crowd_partial"),
        (5, 8 / 18, "crowd_partial"),
        (4, 9 / 17, "crowd_heavy"),
    ],
)
def test_crowd_iou(shift, iou, name):
    people = [[0.0, 0, 13, 10], [float(shift), 0, 13 + shift, 10], [50.0, 0, 60, 10]]
    objects = CrowdObjects.of(record(people))
    assert objects.crowding == pytest.approx([iou, iou, 0])
    crowds = {key: members.tolist() for key, members in objects.subsets().items() if key.startswith("crowd")}
    assert [[key for key in crowds if crowds[key][k]] for k in range(3)] == [[name], [name], ["crowd_bare"]]


def test_ignore_regions_crowd_nobody():
    assert CrowdObjects.of(record([[0.0, 0, 10, 10]], [[0, 0, 10, 10]])).crowding.tolist() == [0.0]


def test_overlaps():
    a, b = np.array([[0.0, 0, 10, 10]]), np.array([[5.0, 0, 25, 10], [10.0, 0, 20, 10]])
    assert overlaps(a, b) == pytest.approx(np.array([[50 / 250, 0]]))
    assert overlaps(a, b, of_box=True) == pytest.approx(np.array([[50 / 100, 0]]))
    assert overlaps(a, b[:0]).shape == (1, 0) and overlaps(a[:0], b).shape == (0, 2)
    nothing = np.zeros((1, 4))  # no area to divide by
    assert overlaps(nothing, nothing).tolist() == [[0.0]] and overlaps(nothing, a, of_box=True).tolist() == [[0.0]]


def test_nobody():
    objects = CrowdObjects.of({"height": 5, "width": 5, "annotations": []})
    assert len(objects) == 0 and all(len(members) == 0 for members in objects.subsets().values())
    alone = {"height": 5, "width": 5, "annotations": [annotation([0, 0, 2, 2])]}
    assert CrowdObjects.of(alone).crowding.tolist() == [0.0]
