"""The object discrimination index, by hand."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.ops import distance_box_iou

from odam_d2.evaluation.metrics.discrimination import energy_in_objects, object_discrimination_index, pairs_of_objects
from odam_d2.evaluation.metrics.localization import inside_boxes

# Three objects in an image of 4 x 8: columns 0-2, columns 2-4 (sharing column 2 with the first), columns 6-7.
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


class LargestDouble(TorchDispatchMode):
    """Remembers how many elements the largest float64 tensor inside had."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made.dtype == torch.float64:
            self.elements = max(self.elements, made.numel())
        return made


def test_memory_does_not_grow_with_the_objects():
    with LargestDouble() as largest:
        energy_in_objects(torch.ones(2, 8, 9), torch.ones(60, 8, 9, dtype=torch.bool))
    assert largest.elements == 2 * 8 * 9


def slow_share(heat, pixels):
    """Heat on pixels over all heat, pixel by pixel."""
    return sum(heat[y][x] for y, x in pixels) / sum(map(sum, heat))


def slow_index(heat, own, regions):
    """Heat in the other objects over heat in all; a shared pixel is the object's own."""
    everything = sum(heat[y][x] for y, x in set().union(*regions))
    others = sum(heat[y][x] for y, x in set().union(*regions) - regions[own])
    return others / everything


def slow_diou(one, other):
    """IoU - d^2 / c^2: the squares of the distance of the centres, and of the diagonal of the box around both."""
    width = max(min(one[2], other[2]) - max(one[0], other[0]), 0.0)
    height = max(min(one[3], other[3]) - max(one[1], other[1]), 0.0)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    iou = width * height / (areas[0] + areas[1] - width * height)
    distance = sum(((one[a] + one[a + 2]) / 2 - (other[a] + other[a + 2]) / 2) ** 2 for a in (0, 1))
    diagonal = sum((max(one[a + 2], other[a + 2]) - min(one[a], other[a])) ** 2 for a in (0, 1))
    return iou - distance / diagonal


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_against_plain_loops(kind):
    generator = torch.Generator().manual_seed(3)
    maps = torch.rand(4, 7, 9, generator=generator)
    # Two overlap, one lies in another, one is smaller than a pixel, one apart.
    boxes = [[0.0, 0, 5, 4], [3.2, 1, 8, 6.7], [4, 2, 6, 4], [1.1, 5.6, 1.4, 6.4], [7, 0, 9, 1]]
    cells = [(y, x) for y in range(7) for x in range(9)]
    if kind == "box":
        inside = inside_boxes(torch.tensor(boxes), 7, 9)
        regions = [{(y, x) for y, x in cells if b[0] <= x + 0.5 < b[2] and b[1] <= y + 0.5 < b[3]} for b in boxes]
        regions[3] = {(6, 1)}  # its centre (1.25, 6)
    else:
        inside = torch.rand(5, 7, 9, generator=generator) > 0.7
        regions = [{(y, x) for y, x in cells if mask[y, x]} for mask in inside]
    own = [2, 0, 3, 3]
    index = object_discrimination_index(maps, torch.tensor(own), inside)
    expected = [slow_index(heat.tolist(), k, regions) for heat, k in zip(maps, own)]
    assert index.tolist() == pytest.approx(expected, rel=1e-5) and len(set(expected)) == 4
    pairs = [
        (row, other, slow_diou(boxes[k], boxes[other]), slow_share(maps[row].tolist(), regions[other]))
        for row, k in enumerate(own)
        for other in range(5)
        if other != k
    ]
    found = pairs_of_objects(maps, torch.tensor(own), inside, torch.tensor(boxes)).tolist()
    assert len(found) == len(pairs) == 16
    for one, other in zip(found, pairs):
        assert one == pytest.approx(other, rel=1e-5, abs=1e-6)
