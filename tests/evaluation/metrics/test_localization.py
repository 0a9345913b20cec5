"""Metrics on maps whose value is worked out by hand, and against plain loops."""

import math

import pytest
import torch

from odam_d2.evaluation.metrics.localization import (
    compactness,
    energy_inside,
    inside_boxes,
    pointing_game,
    sparsity,
    visual_explanation_accuracy,
)

HEIGHT, WIDTH = 4, 6
# Object 0 covers rows 1-2, columns 1-3 (6 of 24 pixels); its neighbour lies in columns 4-5 of the same rows.
BOX = torch.tensor([[1.0, 1.0, 4.0, 3.0]])
OBJECT = inside_boxes(BOX, HEIGHT, WIDTH)


def delta(y, x):
    maps = torch.zeros(1, HEIGHT, WIDTH)
    maps[0, y, x] = 0.7
    return maps


UNIFORM = torch.ones(1, HEIGHT, WIDTH)
ZERO = torch.zeros(1, HEIGHT, WIDTH)


def test_pixels_belong_to_a_box_by_their_centres():
    assert OBJECT[0].nonzero().tolist() == [[y, x] for y in (1, 2) for x in (1, 2, 3)]
    # Centres .5, 1.5, ..: a box from .5 to 1.5 takes the first and not the second.
    assert inside_boxes(torch.tensor([[0.5, 0.5, 1.5, 1.5]]), 3, 3)[0].nonzero().tolist() == [[0, 0]]
    assert inside_boxes(torch.tensor([[-9.0, -9, 99, 99]]), 3, 3).all()


@pytest.mark.parametrize(
    "box, pixels",
    [
        ([1.0, 1.0, 1.5, 1.5], [[1, 1]]),  # its centre 1.25 is in pixel 1
        ([1.6, 0.6, 2.4, 1.4], [[1, 2]]),  # .8 pixels, between the centres .5, 1.5 and 2.5
        ([0.7, 0.0, 1.3, 3.0], [[0, 1], [1, 1], [2, 1]]),  # a pole between columns 0 and 1, centre 1: a column of it
        ([-9.0, 1.0, 0.3, 2.0], [[1, 0]]),  # what shows of it is at the border
        ([3.8, 3.8, 9.0, 9.0], [[3, 3]]),
        ([-9.0, -9.0, -1.0, -1.0], []),  # outside
        ([4.0, 1.0, 9.0, 2.0], []),
    ],
)
def test_an_object_smaller_than_a_pixel_has_the_one_around_its_centre(box, pixels):
    assert inside_boxes(torch.tensor([[0.0, 0, 4, 4], box]), 4, 4)[1].nonzero().tolist() == pixels


@pytest.mark.parametrize(
    "maps, hit, energy",
    [
        (delta(1, 1), 1.0, 1.0),  # on the object
        (delta(2, 4), 0.0, 0.0),  # on the neighbour
        (UNIFORM, 0.0, 6 / 24),  # its first maximum is pixel (0, 0)
        (ZERO, 0.0, 0.0),
        (delta(0, 0) + delta(1, 2), 0.0, 0.5),  # a tie: the first maximum is outside
    ],
)
def test_pointing_and_energy_by_hand(maps, hit, energy):
    assert pointing_game(maps, OBJECT).tolist() == [hit]
    assert energy_inside(maps, OBJECT).tolist() == pytest.approx([energy])


def test_compactness_by_hand():
    # All heat in one pixel: 0. Two pixels of .7, three columns apart: the mean squared distance from the first is
    # (0 + 9) / 2; half a diagonal of the 3 x 2 box squared is 13 / 4: sqrt(4.5 / 3.25).
    assert compactness(delta(1, 1), BOX).tolist() == [0.0]
    found = compactness(delta(1, 1) + delta(1, 4), BOX)
    assert found.tolist() == pytest.approx([math.sqrt(4.5 / 3.25)])
    assert torch.equal(compactness(ZERO, BOX), compactness(UNIFORM, BOX))
    # Which isn't the worst: as much heat in the corner that is furthest from the maximum.
    assert bool(compactness(delta(0, 0) + 0.9 * delta(3, 5), BOX) > compactness(ZERO, BOX))


def test_visual_explanation_accuracy_by_hand():
    # .7 on the object's pixel (1, 1): IoU 1/6 up to .7, then nothing is hot. Even heat 1: 6 / 24 at every threshold.
    assert visual_explanation_accuracy(delta(1, 1), OBJECT)[0].tolist() == pytest.approx([1 / 6] * 7 + [0, 0])
    assert visual_explanation_accuracy(UNIFORM, OBJECT)[0].tolist() == pytest.approx([0.25] * 9)
    assert visual_explanation_accuracy(OBJECT.float(), OBJECT)[0].tolist() == [1.0] * 9
    assert visual_explanation_accuracy(ZERO, OBJECT)[0].tolist() == [0.0] * 9


def test_sparsity_by_hand():
    # One pixel of 24: the largest value has weight .5 / 24, so 1 - 2 * .5 / 24. Even heat: the weights' mean is .5.
    assert sparsity(delta(1, 1)).tolist() == pytest.approx([1 - 1 / 24])
    assert sparsity(UNIFORM).tolist() == pytest.approx([0.0], abs=1e-6)
    assert sparsity(ZERO).tolist() == [0.0]


def test_against_plain_loops():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(5, 7, 9, generator=generator)
    inside = torch.rand(5, 7, 9, generator=generator) > 0.6
    boxes = torch.tensor([[1.0, 2, 5, 6], [0, 0, 9, 7], [3, 3, 4, 4], [2, 1, 8, 3], [0, 4, 2, 7]])
    for r in range(5):
        heat = maps[r].tolist()
        cells = [(y, x) for y in range(7) for x in range(9)]
        total = sum(heat[y][x] for y, x in cells)
        top = max(cells, key=lambda c: heat[c[0]][c[1]])
        energy = sum(heat[y][x] for y, x in cells if inside[r, y, x]) / total
        x1, y1, x2, y2 = boxes[r].tolist()
        spread = sum(heat[y][x] * ((y - top[0]) ** 2 + (x - top[1]) ** 2) for y, x in cells)
        expected = math.sqrt(spread / (((x2 - x1) ** 2 + (y2 - y1) ** 2) / 4 * total))
        ascending = sorted(heat[y][x] for y, x in cells)
        # Gini as the mean absolute difference of all pairs over twice the mean.
        gini = sum(abs(a - b) for a in ascending for b in ascending) / (2 * 63 * total)
        assert pointing_game(maps, inside)[r] == bool(inside[r, top[0], top[1]])
        assert energy_inside(maps, inside)[r].item() == pytest.approx(energy, rel=1e-5)
        assert compactness(maps, boxes)[r].item() == pytest.approx(expected, rel=1e-5)
        assert sparsity(maps)[r].item() == pytest.approx(gini, rel=1e-5)
        for t, threshold in enumerate((0.25, 0.6)):
            hot = {c for c in cells if heat[c[0]][c[1]] >= threshold}
            mask = {c for c in cells if inside[r, c[0], c[1]]}
            found = visual_explanation_accuracy(maps, inside, (0.25, 0.6))[r, t].item()
            assert found == pytest.approx(len(hot & mask) / len(hot | mask))


def test_no_objects():
    none, boxes = torch.zeros(0, 4, 6), torch.zeros(0, 4)
    inside = torch.zeros(0, 4, 6, dtype=torch.bool)
    assert pointing_game(none, inside).shape == energy_inside(none, inside).shape == sparsity(none).shape == (0,)
    assert compactness(none, boxes).shape == (0,) and visual_explanation_accuracy(none, inside).shape == (0, 9)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(R, h, w\); got \(1, 4, 6\) and \(1, 4, 5\)"):
        energy_inside(UNIFORM, OBJECT[:, :, :5])
