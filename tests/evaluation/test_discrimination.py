"""The object discrimination index, by hand."""

import math

import pytest
import torch
from torchvision.ops import distance_box_iou

from odam_d2.evaluation import energy_in_objects, inside_boxes, object_discrimination_index, pairs_of_objects

# Three objects in a picture of 4 x 8: columns 0-2, columns 2-4 (sharing column 2 with the first), columns 6-7.
BOXES = torch.tensor([[0.0, 0, 3, 4], [2, 0, 5, 4], [6, 0, 8, 4]])
INSIDE = inside_boxes(BOXES, 4, 8)


def heat(**columns):
    """A map with so much heat in row 1 of each column."""
    maps = torch.zeros(1, 4, 8)
    for name, value in columns.items():
        maps[0, 1, int(name[1:])] = value
    return maps


@pytest.mark.parametrize(
    "maps, expected",
    [
        (heat(c0=2.0), 0.0),
        (heat(c2=2.0), 0.0),  # shared with object 1: its own
        (heat(c7=2.0), 1.0),
        (heat(c0=3.0, c4=1.0), 0.25),
        (heat(c0=3.0, c5=9.0, c6=1.0), 0.25),  # column 5 is background: it counts nowhere
        (heat(c5=1.0), 1.0),  # nothing in any object
        (heat(), 1.0),
    ],
)
def test_by_hand(maps, expected):
    assert object_discrimination_index(maps, torch.tensor([0]), INSIDE).tolist() == pytest.approx([expected])


def test_an_object_alone_has_no_index():
    assert math.isnan(object_discrimination_index(heat(c0=1.0), torch.tensor([0]), INSIDE[:1])[0])


def test_no_maps():
    none = torch.zeros(0, 4, 8)
    assert object_discrimination_index(none, torch.zeros(0, dtype=torch.int64), INSIDE).shape == (0,)
    assert pairs_of_objects(none, torch.zeros(0, dtype=torch.int64), INSIDE, BOXES).shape == (0, 4)


def test_energy_of_each_object_and_of_pairs():
    maps = torch.cat([heat(c0=3.0, c2=1.0, c7=4.0), heat()])
    share = energy_in_objects(maps, INSIDE)
    assert share[0].tolist() == pytest.approx([0.5, 0.125, 0.5]) and share[1].tolist() == [0, 0, 0]
    pairs = pairs_of_objects(maps, torch.tensor([0, 2]), INSIDE, BOXES)
    nearness = distance_box_iou(BOXES, BOXES)
    assert pairs[:, :2].tolist() == [[0, 1], [0, 2], [1, 0], [1, 1]]
    assert pairs[:, 2].tolist() == nearness[[0, 0, 2, 2], [1, 2, 0, 1]].tolist()
    assert pairs[:, 3].tolist() == pytest.approx([0.125, 0.5, 0, 0])
    # Objects 0 and 1: IoU 4 / 20; centres 2 apart; the box around both has a diagonal of sqrt(41).
    assert nearness[0, 1].item() == pytest.approx(0.2 - 4 / 41)
