"""Matrix-NMS against a plain loop, and by hand."""

import math

import pytest
import torch

from odam_d2.ops.matrix_nms import METHODS, matrix_nms
from tests.helpers import ROUNDING
from tests.ops.test_nms import plain_iou, random_case, tensors


def plain_matrix_nms(boxes, scores, classes, method, sigma):
    """Decayed score of each box, in the order of the boxes."""
    ranked = sorted(range(len(boxes)), key=lambda k: -scores[k])

    def overlap(i, j):
        return plain_iou(boxes[i], boxes[j]) if classes[i] == classes[j] else 0.0

    def f(iou):
        return math.exp(-sigma * iou * iou) if method == "gaussian" else 1 - iou

    decayed = {}
    for place, j in enumerate(ranked):
        factors = [1.0]
        for before, i in enumerate(ranked[:place]):
            most = max((overlap(k, i) for k in ranked[:before]), default=0.0)
            if most < 1 or method == "gaussian":
                factors.append(f(overlap(i, j)) / f(most))
        decayed[j] = scores[j] * min(factors)
    return [decayed[k] for k in range(len(boxes))]


@pytest.mark.parametrize("method", METHODS)
def test_equals_a_plain_loop(method):
    lower = 0
    for seed in range(300):
        boxes, scores, classes, similarity, generator = random_case(seed)
        sigma = generator.choice([0.5, 2.0])
        about = tensors(boxes, scores, classes, similarity)[:3]
        order, values = matrix_nms(*about, method, sigma)
        assert sorted(order.tolist()) == list(range(len(boxes)))
        assert values.tolist() == sorted(values.tolist(), reverse=True)
        expected = plain_matrix_nms(boxes, scores, classes, method, sigma)
        assert values.tolist() == pytest.approx([expected[k] for k in order.tolist()], rel=ROUNDING, abs=1e-7), seed
        lower += bool((values < about[1][order]).any())
    assert lower > 100


def test_by_hand():
    # A row of three, each overlapping the next by 6 / 10: the middle one loses 1 - .6 of its score. The last is
    # overlapped by the middle one only as far as that was overlapped itself, (1 - .6) / (1 - .6), and by the first by
    # 4 / 12 of an IoU, which is what counts.
    boxes = torch.tensor([[0.0, 0, 8, 10], [2.0, 0, 10, 10], [4.0, 0, 12, 10]])
    order, values = matrix_nms(boxes, torch.tensor([0.9, 0.8, 0.6]), torch.zeros(3), "linear")
    assert order.tolist() == [0, 2, 1]
    assert values.tolist() == pytest.approx([0.9, 0.6 * 2 / 3, 0.8 * 0.4])
    _, values = matrix_nms(boxes[:2], torch.tensor([0.9, 0.8]), torch.zeros(2), "gaussian", 2.0)
    assert values.tolist() == pytest.approx([0.9, 0.8 * math.exp(-2 * 0.36)])


@pytest.mark.parametrize(("change", "message"), [({"method": "soft"}, "`method`"), ({"sigma": 0.0}, "`sigma`")])
def test_errors_name_the_argument(change, message):
    with pytest.raises(ValueError, match=message):
        matrix_nms(torch.zeros(1, 4), torch.zeros(1), torch.zeros(1), **change)
