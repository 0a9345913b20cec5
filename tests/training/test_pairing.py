"""Pairs of positives against a loop written from the definition."""

import pytest
import torch

from odam_d2.training.pairing import Positives, pair_positives
from tests.training.twins import slow_pairs


def positives(boxes, truths, classes=None, images=None):
    count = len(boxes)
    return Positives(
        torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        torch.tensor(truths, dtype=torch.float32).view(-1, 4),
        torch.tensor(classes or [0] * count, dtype=torch.int64),
        torch.tensor(images or [0] * count, dtype=torch.int64),
    )


def as_sets(pairs):
    same = {tuple(pair): weight for pair, weight in zip(pairs.same.tolist(), pairs.weights.tolist())}
    return same, {tuple(pair) for pair in pairs.other.tolist()}, pairs.dropped


# Two neighbours, (0, 0, 10, 10) and (8, 0, 18, 10), and a third far away.
LEFT, RIGHT, FAR = [0, 0, 10, 10], [8, 0, 18, 10], [50, 50, 60, 60]


def test_by_hand():
    boxes = [[0, 0, 10, 8], [0, 0, 10, 9], [9, 0, 18, 10], [10, 0, 18, 10], FAR]
    pairs = pair_positives(positives(boxes, [LEFT, LEFT, RIGHT, RIGHT, FAR]), weigh=True)
    # Anchors: 1 (IoU .9 before .8), 2 (.9 before .8), 4. 1 reaches to x = 10: it overlaps 2, but 3 only touches it.
    same, other, dropped = as_sets(pairs)
    assert same == {(1, 0): pytest.approx(0.8 / 0.9), (2, 3): pytest.approx(0.8 / 0.9)}
    assert other == {(1, 2), (2, 0), (2, 1)} and dropped == 0
    assert len(pairs) == 5


def test_every_object_has_an_anchor_of_its_own():
    # The best overlap of the image is RIGHT's; LEFT's anchor is its own best all the same.
    pairs = pair_positives(positives([[0, 0, 10, 5], [0, 0, 10, 4], RIGHT], [LEFT, LEFT, RIGHT]), weigh=False)
    assert as_sets(pairs) == ({(0, 1): 1.0}, {(0, 2), (2, 0), (2, 1)}, 0)


@pytest.mark.parametrize("duplicate_iou", [1.0, 0.3])
def test_against_the_loop(duplicate_iou):
    corners = torch.rand(8, 2) * 30
    objects = torch.cat([corners, corners + 10 + torch.rand(8, 2) * 20], 1)
    rows = torch.randint(8, (40,))
    boxes = objects[rows] + torch.rand(40, 4) * 5
    classes = (rows % 3).tolist()
    found = pair_positives(positives(boxes.tolist(), objects[rows].tolist(), classes), True, duplicate_iou)
    expected = slow_pairs(boxes.tolist(), objects[rows].tolist(), classes, duplicate_iou)
    assert as_sets(found) == (pytest.approx(expected[0], rel=1e-4), *expected[1:])
    assert (found.dropped > 0) == (duplicate_iou < 1) and len(found.same) == 40 - len(set(rows.tolist()))


def test_objects_on_one_place():
    nearly = [0, 0, 10, 9]  # IoU .9 with LEFT
    everyone = positives([LEFT, nearly], [LEFT, nearly])
    assert as_sets(pair_positives(everyone, False)) == ({}, {(0, 1), (1, 0)}, 0)
    assert as_sets(pair_positives(everyone, False, 0.8)) == ({}, set(), 2)
    # Equal boxes of different classes are different objects, and kept apart unless asked otherwise.
    twins = positives([LEFT, LEFT], [LEFT, LEFT], [0, 1])
    assert as_sets(pair_positives(twins, False)) == ({}, {(0, 1), (1, 0)}, 0)
    assert as_sets(pair_positives(twins, False, 0.99)) == ({}, set(), 2)


def test_none_one_and_predictions_that_miss():
    for few in ([], [LEFT]):
        pairs = pair_positives(positives(few, few), weigh=True)
        assert pairs.same.shape == pairs.other.shape == (0, 2) and len(pairs) == 0
    missing = pair_positives(positives([FAR, FAR], [LEFT, LEFT]), weigh=True)
    assert as_sets(missing) == ({(0, 1): 0.0}, set(), 0)  # 0 / 0 counts nothing


def test_the_best_of_each_image_are_kept():
    widths = [5, 9, 8, 9, 1, 2, 3]  # IoUs .5, .9, .8, .9 in image 0; .1, .2, .3 in image 2
    everyone = positives([[0, 0, w, 10] for w in widths], [LEFT] * 7, images=[0, 0, 0, 0, 2, 2, 2])
    assert everyone.keep_best(2).tolist() == [1, 3, 5, 6]
    assert everyone.keep_best(1).tolist() == [1, 6]  # the first of equals
    assert everyone.keep_best(300).tolist() == list(range(7))
    assert positives([], []).keep_best(3).tolist() == []
    assert everyone[everyone.keep_best(1)].boxes[:, 2].tolist() == [9, 3]
