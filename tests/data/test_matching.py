"""Greedy one-to-one matching, by hand and against a plain loop."""

import pytest
import torch
from torchvision.ops import box_iou

from odam_d2.evaluation import match_detections


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32).view(-1, 4)


def test_each_object_is_taken_once_by_the_best_score():
    # Detection 1 scores higher and takes object 0 (IoU 1); detection 0 overlaps it by 90 / 100, but it is taken; its
    # next best, object 1, overlaps by 0. Detection 2 is another class, detection 3 lies elsewhere.
    found = boxes([0, 0, 10, 9], [0, 0, 10, 10], [20, 0, 30, 10], [60, 60, 70, 70])
    scores, classes = torch.tensor([0.6, 0.9, 0.8, 0.3]), torch.tensor([1, 1, 2, 1])
    truth, labels = boxes([0, 0, 10, 10], [20, 0, 30, 10]), torch.tensor([1, 1])
    matches = match_detections(found, scores, classes, truth, labels, 0.5)
    assert matches.detections.tolist() == [1] and matches.objects.tolist() == [0] and matches.iou.tolist() == [1.0]
    assert matches.counts == {
        "objects": 2, "detections": 4, "no_object_of_class": 1, "low_iou": 1, "taken": 1, "matched": 1,
    }  # fmt: skip


def test_a_taken_object_gives_way_to_the_next_best():
    # IoU of both detections with object 1 is 50 / 150: above .3.
    found = boxes([0, 0, 10, 10], [5, 0, 15, 10])
    truth = boxes([0, 0, 10, 10], [10, 0, 20, 10])
    matches = match_detections(found, torch.tensor([0.9, 0.8]), torch.zeros(2), truth, torch.zeros(2), 0.3)
    assert matches.detections.tolist() == [0, 1] and matches.objects.tolist() == [0, 1]
    assert matches.iou.tolist() == pytest.approx([1.0, 1 / 3])


def test_the_threshold_itself_is_not_enough():
    matches = match_detections(
        boxes([0, 0, 10, 5]), torch.ones(1), torch.zeros(1), boxes([0, 0, 10, 10]), torch.zeros(1), 0.5
    )
    assert len(matches.detections) == 0 and matches.counts["low_iou"] == 1


@pytest.mark.parametrize("detections, objects", [(0, 0), (3, 0), (0, 2)])
def test_nothing_to_match(detections, objects):
    box = boxes([0, 0, 10, 10])
    matches = match_detections(
        box.repeat(detections, 1), torch.ones(detections), torch.zeros(detections), box.repeat(objects, 1),
        torch.zeros(objects), 0.5,
    )  # fmt: skip
    assert matches.detections.shape == matches.objects.shape == matches.iou.shape == (0,)
    assert matches.counts["matched"] == 0 and matches.counts["no_object_of_class"] == detections


def test_against_a_plain_loop():
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        corners = torch.rand(12, 2, generator=generator) * 20
        both = torch.cat([corners, corners + 5 + torch.rand(12, 2, generator=generator) * 10], 1)
        found, truth = both[:7], both[7:]
        scores, classes = torch.rand(7, generator=generator), torch.randint(0, 2, (7,), generator=generator)
        labels = torch.randint(0, 2, (5,), generator=generator)
        iou, free, pairs = box_iou(found, truth).tolist(), set(range(5)), []
        for i in sorted(range(7), key=lambda k: -scores[k].item()):
            fits = [j for j in free if labels[j] == classes[i] and iou[i][j] > 0.1]
            if fits:
                best = max(fits, key=lambda j: iou[i][j])
                free.remove(best)
                pairs.append((i, best))
        matches = match_detections(found, scores, classes, truth, labels, 0.1)
        assert list(zip(matches.detections.tolist(), matches.objects.tolist(), strict=True)) == pairs
        counts = matches.counts
        dropped = counts["no_object_of_class"] + counts["low_iou"] + counts["taken"]
        assert dropped + counts["matched"] == counts["detections"] == 7


def test_a_threshold_that_is_no_iou():
    with pytest.raises(ValueError, match=r"\[0, 1\); got 1.0"):
        match_detections(boxes(), torch.zeros(0), torch.zeros(0), boxes(), torch.zeros(0), 1.0)
