"""Greedy one-to-one matching, by hand and against a plain loop."""

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from odam_d2.data.matching import match_detections, match_greedily
from odam_d2.evaluation.crowd.matching import FALSE, IGNORED, match_crowd
from odam_d2.evaluation.crowd.objects import CrowdObjects


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


def plain_loop(overlap, scores, threshold, at_threshold):
    """Greedy matching in so many words."""
    taken, found = set(), [-1] * len(scores)
    for row in sorted(range(len(scores)), key=lambda k: (-scores[k], k)):
        best, most = -1, -1.0
        for column, value in enumerate(overlap[row]):
            enough = value >= threshold if at_threshold else value > threshold
            if column not in taken and enough and value > most:
                best, most = column, value
        if best >= 0:
            taken.add(best)
            found[row] = best
    return found


@pytest.mark.parametrize("at_threshold", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5])
def test_greedy_matching_against_a_plain_loop(threshold, at_threshold):
    """Overlaps and scores in quarters, which are exact: many are equal, and many lie on the threshold."""
    generator, pairs = np.random.default_rng(0), 0
    for _ in range(100):
        rows, columns = generator.integers(0, 8, 2)
        overlap = generator.integers(-1, 5, (rows, columns)) / 4
        overlap[overlap < 0] = -1.0
        scores = generator.integers(0, 5, rows) / 4
        found = match_greedily(overlap, scores, threshold, at_threshold)
        assert found.tolist() == plain_loop(overlap.tolist(), scores.tolist(), threshold, at_threshold)
        pairs += int((found >= 0).sum())
    assert pairs > 100


def test_a_threshold_means_the_same_in_every_precision():
    """Rounded to single precision .1 is greater than in double precision: an IoU of just that exceeds it."""
    overlap = np.array([[0.1]], dtype=np.float32)
    assert match_greedily(overlap, np.ones(1), 0.1).tolist() == [0]
    assert match_greedily(overlap, np.ones(1), float(overlap[0, 0])).tolist() == [-1]


def test_crowds_against_the_same_loop():
    """People, and ignore regions for who finds nobody."""
    generator, kinds = np.random.default_rng(0), set()
    for _ in range(30):
        corner = generator.integers(0, 20, (14, 2))
        every = np.concatenate([corner, corner + generator.integers(4, 12, (14, 2))], 1).astype(float)
        found, people, regions = every[:7], every[7:11], every[11:]
        scores = generator.random(7)
        objects = CrowdObjects((40, 40), people, regions, np.ones(4), np.zeros(4))
        matches = match_crowd(found, scores, objects, 0.3)
        order = np.argsort(-scores)
        iou = box_iou(torch.from_numpy(found[order]), torch.from_numpy(people)).tolist()
        expected = plain_loop(iou, [-k for k in range(7)], 0.3, False)
        for row, (x1, y1, x2, y2) in enumerate(found[order].tolist()):
            for left, top, right, bottom in regions.tolist():
                shared = max(0, min(x2, right) - max(x1, left)) * max(0, min(y2, bottom) - max(y1, top))
                if expected[row] == FALSE and shared > 0.3 * (x2 - x1) * (y2 - y1):
                    expected[row] = IGNORED
        assert matches.taken.tolist() == expected
        kinds |= set(expected)
    assert {FALSE, IGNORED, 0, 1, 2, 3} == kinds


def test_a_threshold_that_is_no_iou():
    with pytest.raises(ValueError, match=r"\[0, 1\); got 1.0"):
        match_detections(boxes(), torch.zeros(0), torch.zeros(0), boxes(), torch.zeros(0), 1.0)
