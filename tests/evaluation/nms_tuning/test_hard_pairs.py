"""Hard pairs of candidates, and how well maps tell one object's duplicates from its neighbours."""

import math

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, pairwise_iou

from odam_d2.evaluation.ground_truth import TrueObjects
from odam_d2.evaluation.nms_tuning.candidates import Candidates
from odam_d2.evaluation.nms_tuning.hard_pairs import (
    HardPairs,
    area_under_roc,
    find_hard_pairs,
    summarize_hard_pairs,
)


def truth_of(boxes, classes):
    n = len(boxes)
    tensor = torch.tensor(boxes, dtype=torch.float32).reshape(n, 4)
    return TrueObjects((100, 100), tensor, torch.tensor(classes, dtype=torch.int64), list(range(n)), [None] * n, {})


def candidates_of(boxes, scores, classes, seed=0):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    similarity = torch.rand(len(boxes), len(boxes), generator=torch.Generator().manual_seed(seed))
    return Candidates(boxes, torch.tensor(scores), torch.tensor(classes), similarity, (100, 100), (100, 100))


def test_area_by_hand():
    # Positives .9 and .4, negatives .5, .4 and .1: .9 wins 3 of 3, .4 wins one and a half of 3.
    values, positive = np.array([0.9, 0.4, 0.5, 0.4, 0.1]), np.array([True, True, False, False, False])
    assert area_under_roc(values, positive) == pytest.approx(4.5 / 6)
    assert math.isnan(area_under_roc(values[:2], positive[:2]))


def test_pairs_by_hand():
    # Two people beside each other. 0 and 1 lie on the first, 2 on the second; 3 has another class, 4 scores too little.
    truth = truth_of([[0, 0, 40, 80], [16, 0, 56, 80]], [0, 0])
    boxes = [[0, 0, 40, 80], [0, 0, 40, 50], [12, 0, 56, 80], [0, 0, 40, 60], [0, 0, 40, 60]]
    found = candidates_of(boxes, [0.9, 0.8, 0.7, 0.6, 0.04], [0, 0, 0, 1, 0])
    pairs = find_hard_pairs(found, truth, least=0.4, most=0.75)
    # 0 and 1: 50 / 80; 0 and 2: 28 / (40 + 44 - 28) = .5; 1 and 2: 1400 / 4120 is too little.
    assert pairs.same.tolist() == [True, False]
    np.testing.assert_allclose(pairs.iou, [0.625, 0.5], rtol=1e-6)
    assert torch.equal(pairs.similarity, found.similarity[[0, 0], [1, 2]])
    assert len(find_hard_pairs(found, truth_of([], [])).same) == 0


def test_pairs_against_plain_loops():
    rng = np.random.default_rng(3)
    corners = rng.uniform(0, 20, (40, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(30, 45, (40, 2))], 1).tolist()
    truth = truth_of(boxes[:6], [0, 1, 0, 1, 0, 1])
    found = candidates_of(boxes, np.linspace(0.9, 0.01, 40).astype("float32"), [k % 2 for k in range(40)])
    iou = pairwise_iou(Boxes(found.boxes), Boxes(found.boxes))
    with_objects = pairwise_iou(Boxes(found.boxes), Boxes(truth.boxes))
    expected = []
    for i in range(40):
        for j in range(i + 1, 40):
            owners = []
            for k in (i, j):
                mine = [
                    float(v) if truth.classes[g] == found.classes[k] else 0.0 for g, v in enumerate(with_objects[k])
                ]
                owners.append(int(np.argmax(mine)) if max(mine) >= 0.5 and found.scores[k] > 0.05 else None)
            if None not in owners and found.classes[i] == found.classes[j] and 0.4 <= float(iou[i, j]) <= 0.75:
                expected.append((owners[0] == owners[1], float(found.similarity[i, j])))
    pairs = find_hard_pairs(found, truth)
    assert expected and list(zip(pairs.same.tolist(), pairs.similarity.tolist())) == expected


def test_summary_and_its_intervals():
    generator = torch.Generator().manual_seed(0)
    images = []
    for _ in range(6):
        same = torch.rand(30, generator=generator) < 0.5
        noise = torch.rand(30, generator=generator)
        images.append(HardPairs(same, noise + 0.5 * same, torch.rand(30, generator=generator)))
    found = summarize_hard_pairs(images, resamplings=200)
    same = torch.cat([one.same for one in images]).numpy()
    maps = torch.cat([one.similarity for one in images]).numpy()
    assert found["auc"]["maps"] == pytest.approx(area_under_roc(maps, same))
    assert (found["same"], found["other"]) == (same.sum(), (~same).sum())
    # A fit on two judges is no worse than the better of them but for the few numbers that it has.
    assert found["auc"]["both"] > found["auc"]["maps"] - 0.01
    assert found["gain"] == pytest.approx(found["auc"]["both"] - found["auc"]["iou"])
    low, high = found["interval"]["maps"]
    assert low < found["auc"]["maps"] < high

    # The same draws, with the pairs of an image repeated as often as it was drawn.
    draws = np.random.default_rng(0).multinomial(6, np.full(6, 1 / 6), size=200)
    plain = []
    for draw in draws:
        rows = [k for k, count in enumerate(draw) for _ in range(count)]
        plain.append(
            area_under_roc(
                np.concatenate([images[k].similarity.numpy() for k in rows]),
                np.concatenate([images[k].same.numpy() for k in rows]),
            )
        )
    assert found["interval"]["maps"] == pytest.approx(np.quantile(plain, [0.025, 0.975]).tolist())


def test_one_kind_alone_has_no_area():
    one = HardPairs(torch.ones(2, dtype=torch.bool), torch.ones(2), torch.ones(2))
    assert summarize_hard_pairs([one]) == {"same": 2, "other": 0}
    assert summarize_hard_pairs([]) == {"same": 0, "other": 0}
