"""Which stage a pair left at, and which neighbour suppressed it, by hand and against plain loops."""

import pytest
import torch
from detectron2.layers import batched_nms
from torchvision.ops import box_iou

from odam_d2.analysis.misses.choice import Entrants, Kept, OdamSuppression, ScoreFilter, Suppression
from odam_d2.analysis.misses.replay import Candidates, known_choice
from odam_d2.analysis.misses.steps import BoxStep
from odam_d2.ops.nms import odam_nms

# Four boxes of 20 x 20, each 5 to the right of the one before: neighbours overlap by 15 / 25 = .6, the next by a third.
BOXES = torch.tensor([[5.0 * k, 0, 5.0 * k + 20, 20] for k in range(4)])
SCORES = torch.tensor([0.9, 0.8, 0.7, 0.6])
ROWS = torch.tensor([10, 11, 12, 13])


def suppression(boxes=BOXES, scores=SCORES, labels=None, iou=0.5):
    labels = torch.zeros(len(boxes), dtype=torch.int64) if labels is None else labels
    rows = torch.arange(10, 10 + len(boxes))
    entrants = Entrants(rows, labels, boxes, scores, labels)
    return Suppression("nms", iou, entrants, batched_nms(boxes, scores, labels, iou))


def test_the_neighbour_is_the_kept_one_that_overlaps_most():
    """The first suppresses the second, and the third, which overlaps it by a third, the fourth."""
    stage = suppression()
    assert stage.survives(ROWS, 0).tolist() == [True, False, True, False]
    second, fourth = stage.neighbour(11, 0), stage.neighbour(13, 0)
    assert (second.row, second.label, second.iou, second.box.tolist()) == (10, 0, pytest.approx(0.6), BOXES[0].tolist())
    # The third overlaps the second by .6 too, but scores less than it.
    assert (fourth.row, fourth.iou) == (12, pytest.approx(0.6))
    # Of two that would do it alone, the one that overlaps it more: it overlaps the first by .6, the second by .9.
    boxes = torch.tensor([[0.0, 0, 20, 20], [9, 0, 29, 20], [7, 0, 27, 20]])
    stage = suppression(boxes, SCORES[:3], iou=0.4)
    assert stage.survives(torch.tensor([10, 11, 12]), 0).tolist() == [True, True, False]
    assert (stage.neighbour(12, 0).row, stage.neighbour(12, 0).iou) == (11, pytest.approx(18 / 22))


def test_classes_do_not_meet():
    stage = suppression(labels=torch.tensor([0, 1, 0, 1]))
    assert stage.survives(ROWS, 0).tolist() == [True, False, True, False]
    assert stage.survives(ROWS, 1).tolist() == [False, True, False, True]


@pytest.mark.parametrize("number", [40, 1500])  # boxes of different classes are moved apart, or taken class by class
def test_random_neighbours(number):
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(number, 2, generator=generator) * 60
    boxes = torch.cat([corners, corners + 10 + torch.rand(number, 2, generator=generator) * 30], 1)
    scores = torch.rand(number, generator=generator)
    labels = torch.randint(0, 3, (number,), generator=generator)
    stage = suppression(boxes, scores, labels)
    iou, kept = box_iou(boxes, boxes), set(stage.kept.tolist())
    lost = [k for k in range(number) if k not in kept]
    for k in lost[:: max(1, len(lost) // 50)]:
        able = [o for o in kept if labels[o] == labels[k] and scores[o] >= scores[k] and iou[o, k] > 0.5]
        best = max(able, key=lambda other, own=k: float(iou[other, own]))
        found = stage.neighbour(10 + k, int(labels[k]))
        assert found.row == 10 + best and found.iou == pytest.approx(float(iou[best, k]), abs=1e-5)


def test_likeness_of_maps_suppresses_too():
    """By Odam-NMS: the second overlaps the first by .6 but looks elsewhere, and stays; the fourth is like the first."""
    similarity = torch.eye(4)
    similarity[0, 3] = similarity[3, 0] = 0.9
    thresholds = (0.5, 0.2, 0.8)
    kept = odam_nms(BOXES, SCORES, torch.zeros(4).long(), similarity, *thresholds)
    zeros = torch.zeros(4, dtype=torch.int64)
    stage = OdamSuppression("nms", 0.5, Entrants(ROWS, zeros, BOXES, SCORES, zeros), kept, similarity, thresholds)
    assert stage.survives(ROWS, 0).tolist() == [True, True, True, False]
    # The third overlaps it by .6 and is not like it; the first overlaps it by 5 / 35.
    assert (stage.neighbour(13, 0).row, stage.neighbour(13, 0).iou) == (10, pytest.approx(1 / 7))


def candidates(choice, scores):
    last = BoxStep("boxes", torch.tensor([[0.0, 0, 1, 1]] * len(scores)))
    return Candidates("anchor", [], last, scores, choice)


def test_stages_in_their_order():
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.7], [0.3, 0.6]])
    best = Kept("pre_nms_topk", 3, torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]))
    last = Kept("max_detections", 1, torch.tensor([0]), torch.tensor([0]))
    one = candidates([ScoreFilter("score_filter", 0.2, scores), best, last], scores)
    rows = torch.arange(3)
    assert one.left_at(rows, 0).tolist() == [3, 2, 1] and one.left_at(rows, 1).tolist() == [0, 2, 1]
    assert one.passes(rows).tolist() == [[True, False], [True, True], [True, True]]
    assert one.passes(rows[:0]).shape == (0, 2) and len(one.left_at(rows[:0], 1)) == 0
    # A score on the threshold is not above it.
    assert not ScoreFilter("score_filter", float(scores[0, 1]), scores).survives(rows[:1], 1)


def test_a_choice_is_known_if_it_leaves_the_detections():
    boxes = BoxStep("boxes", torch.tensor([[0.0, 0, 1, 1], [5, 5, 5, 9], [2, 2, 4, 4]]))
    stages = [Kept("max_detections", 3, torch.tensor([2, 1, 0]), torch.tensor([0, 1, 1]))]
    # The second has no area, and was taken out; the order does not matter.
    assert known_choice(stages, boxes, torch.tensor([0, 2]), torch.tensor([1, 0])) is stages
    (unknown,) = known_choice(stages, boxes, torch.tensor([0, 2]), torch.tensor([1, 1]))
    assert (unknown.name, unknown.limit, unknown.rows.tolist()) == ("choice", None, [0, 2])
