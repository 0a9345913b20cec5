"""DIoU-NMS against a plain loop, and by hand."""

import pytest
import torch

from odam_d2.ops.diou_nms import diou_nms
from tests.ops.test_nms import plain_iou, random_case, tensors


def plain_diou_nms(boxes, scores, classes, threshold):
    kept = []
    for j in sorted(range(len(boxes)), key=lambda k: -scores[k]):
        for i in kept:
            one, other = boxes[i], boxes[j]
            across = (one[0] + one[2] - other[0] - other[2]) / 2, (one[1] + one[3] - other[1] - other[3]) / 2
            around = (
                max(one[2], other[2]) - min(one[0], other[0]),
                max(one[3], other[3]) - min(one[1], other[1]),
            )
            apart = (across[0] ** 2 + across[1] ** 2) / (around[0] ** 2 + around[1] ** 2)
            if classes[i] == classes[j] and plain_iou(one, other) - apart > threshold:
                break
        else:
            kept.append(j)
    return kept


def test_equals_a_plain_loop():
    differ = 0
    for seed in range(300):
        boxes, scores, classes, similarity, generator = random_case(seed)
        # No value that boxes on the grid have exactly: rounding must not decide.
        threshold = generator.choice([-0.3001, 0.0501, 0.2001, 0.4701])
        found = diou_nms(*tensors(boxes, scores, classes, similarity)[:3], threshold)
        assert found.tolist() == plain_diou_nms(boxes, scores, classes, threshold), seed
        differ += len(found) < len(boxes)
    assert differ > 100


def test_by_hand():
    # IoU 6 / 10, centres 2 apart, diagonal squared 10^2 + 10^2: .6 of IoU less 4 / 200.
    boxes, scores = torch.tensor([[0.0, 0, 8, 10], [2.0, 0, 10, 10]]), torch.tensor([0.5, 0.9])
    classes = torch.tensor([0, 0])
    assert diou_nms(boxes, scores, classes, 0.57).tolist() == [1]
    assert diou_nms(boxes, scores, classes, 0.59).tolist() == [1, 0]
    assert diou_nms(boxes, scores, torch.tensor([0, 1]), 0.1).tolist() == [1, 0]


def test_errors_name_the_argument():
    boxes, scores, classes = torch.zeros(1, 4), torch.zeros(1), torch.zeros(1)
    with pytest.raises(ValueError, match="`iou_threshold` must be in"):
        diou_nms(boxes, scores, classes, 1.5)
    with pytest.raises(ValueError, match="`boxes` must be"):
        diou_nms(boxes[0], scores, classes, 0.5)
