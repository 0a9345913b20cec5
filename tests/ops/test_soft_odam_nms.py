"""Soft Odam-NMS: by hand, against a plain loop, and against Soft-NMS where maps are left out."""

import math

import pytest
import torch

from odam_d2.ops.nms import soft_nms
from odam_d2.ops.soft_odam_nms import soft_odam_nms
from tests.ops.test_nms import plain_iou

BOXES = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [5, 0, 15, 10], [20, 0, 30, 10]])
SCORES = torch.tensor([0.9, 0.8, 0.7, 0.6])
CLASSES = torch.zeros(4, dtype=torch.int64)
ALIKE = torch.tensor([[1.0, 0.8, 0.1, 0.9], [0.8, 1, 0, 0], [0.1, 0, 1, 0], [0.9, 0, 0, 1]])


def random_boxes(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 30 - 5
    boxes = torch.cat([corner, corner + 4 + torch.rand(count, 2, generator=generator) * 12], 1)
    maps = torch.rand(count, 3, generator=generator)
    maps = maps / maps.norm(dim=1, keepdim=True)
    classes = torch.randint(0, 2, (count,), generator=generator)
    return boxes, torch.rand(count, generator=generator), classes, maps @ maps.T


def plain(boxes, scores, classes, similarity, weight, sigma, min_score):
    left, kept = dict(enumerate(scores.double().tolist())), []
    while left:
        best = max(left, key=lambda k: (left[k], -k))
        value = left.pop(best)
        if value <= min_score:
            break
        kept.append((best, value))
        for other in left:
            iou = plain_iou(boxes[best].tolist(), boxes[other].tolist())
            if classes[best] == classes[other] and iou > 0:
                left[other] *= math.exp(-((iou + weight * float(similarity[best, other])) ** 2) / sigma)
    return kept


def test_four_boxes_by_hand():
    kept, scores = soft_odam_nms(BOXES, SCORES, CLASSES, ALIKE, weight=0.5, sigma=1.0)
    # IoU of the first with the second .5, with the third 1/3, and of these two .2; the last overlaps none of them,
    # and so its map, which is like the first's, doesn't count.
    third = 0.7 * math.exp(-((1 / 3 + 0.5 * 0.1) ** 2))  # .604
    second = 0.8 * math.exp(-((0.5 + 0.5 * 0.8) ** 2)) * math.exp(-(0.2**2))
    assert kept.tolist() == [0, 2, 3, 1]
    assert scores.tolist() == pytest.approx([0.9, third, 0.6, second])


@pytest.mark.parametrize("seed", range(4))
def test_against_a_plain_loop(seed):
    about = random_boxes(30, seed)
    kept, scores = soft_odam_nms(*about, weight=0.6, sigma=0.8, min_score=0.02)
    expected = plain(*about, 0.6, 0.8, 0.02)
    assert kept.tolist() == [index for index, _ in expected] and 5 < len(kept) < 30
    assert scores.tolist() == pytest.approx([value for _, value in expected], rel=1e-6)


def test_without_maps_it_is_soft_nms():
    boxes, scores, classes, alike = random_boxes(40)
    kept, decayed = soft_odam_nms(boxes, scores, classes, alike, weight=0.0, sigma=0.5)
    expected = soft_nms(boxes, scores, classes, "gaussian", sigma=0.5)
    assert torch.equal(kept, expected[0]) and torch.equal(decayed, expected[1])
    assert not torch.equal(soft_odam_nms(boxes, scores, classes, alike, weight=1.0, sigma=0.5)[1], decayed)


@pytest.mark.parametrize("count", [0, 1])
def test_none_and_one(count):
    boxes, scores, classes, alike = random_boxes(count)
    kept, decayed = soft_odam_nms(boxes, scores, classes, alike)
    assert kept.tolist() == list(range(count)) and torch.equal(decayed, scores)


def test_the_best_so_many():
    about = random_boxes(30)
    kept, scores = soft_odam_nms(*about)
    first, best = soft_odam_nms(*about, most=7)
    assert torch.equal(first, kept[:7]) and torch.equal(best, scores[:7])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"weight": -0.1}, "`weight` must be a number >= 0; got -0.1"),
        ({"sigma": 0.0}, "`sigma` must be a number > 0; got 0.0"),
        ({"similarity": ALIKE[:3]}, r"`similarity` must be \(R, R\) = \(4, 4\); got \(3, 4\)"),
        ({"scores": -SCORES}, "`scores` must be at least 0"),
    ],
)
def test_what_is_refused(change, message):
    arguments = {"boxes": BOXES, "scores": SCORES, "classes": CLASSES, "similarity": ALIKE, **change}
    with pytest.raises(ValueError, match=message):
        soft_odam_nms(**arguments)
