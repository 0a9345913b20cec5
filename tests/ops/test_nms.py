"""Odam-NMS and Soft-NMS against plain loops over boxes, and against torchvision."""

import math
import random

import pytest
import torch
from torchvision.ops import batched_nms

from odam_d2.ops.nms import odam_nms, soft_nms
from tests.wants import needs

CASES = 1000
CUDA = pytest.param("cuda", marks=needs("a GPU", torch.cuda.is_available()))


def plain_iou(one, other):
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    union = areas[0] + areas[1] - width * height
    return width * height / union if union > 0 else 0.0


def plain_odam_nms(boxes, scores, classes, similarity, iou_threshold, low, high):
    """The rule, box by box; Python's sort keeps the order of equal scores."""
    kept = []
    for j in sorted(range(len(boxes)), key=lambda k: -scores[k]):
        for i in kept:
            if classes[i] != classes[j]:
                continue
            overlaps = plain_iou(boxes[i], boxes[j]) > iou_threshold
            if not (not overlaps and similarity[i][j] < high or overlaps and similarity[i][j] < low):
                break
        else:
            kept.append(j)
    return kept


def plain_soft_nms(boxes, scores, classes, method, iou_threshold, sigma, min_score):
    """The paper's figure 2, box by box."""
    left, kept, values = {k: score for k, score in enumerate(scores)}, [], []
    while left:
        best = max(left, key=lambda k: (left[k], -k))
        value = left.pop(best)
        if value <= min_score:
            break
        kept.append(best)
        values.append(value)
        for k in left:
            iou = plain_iou(boxes[best], boxes[k]) if classes[best] == classes[k] else 0.0
            left[k] *= math.exp(-iou * iou / sigma) if method == "gaussian" else 1 - iou if iou > iou_threshold else 1
    return kept, values


def random_case(seed, many=24):
    """Boxes on a coarse grid, so that some are equal and IoUs meet thresholds; scores and cosines with ties."""
    generator = random.Random(seed)
    count = generator.choice([0, 1, 2, *range(3, many)])
    boxes = []
    for _ in range(count):
        x, y = generator.randrange(12), generator.randrange(12)
        # Some of no size.
        boxes.append([x, y, x + generator.randrange(8), y + generator.randrange(1, 8)])
    scores = [generator.randrange(1, 9) / 8 for _ in range(count)]
    classes = [generator.randrange(3) for _ in range(count)]
    table = [[generator.randrange(9) / 8 for _ in range(count)] for _ in range(count)]
    similarity = [[1.0 if i == j else table[min(i, j)][max(i, j)] for j in range(count)] for i in range(count)]
    return boxes, scores, classes, similarity, generator


def tensors(boxes, scores, classes, similarity, device="cpu"):
    return (
        torch.tensor(boxes, dtype=torch.float32, device=device).view(-1, 4),
        torch.tensor(scores, dtype=torch.float32, device=device),
        torch.tensor(classes, dtype=torch.int64, device=device),
        torch.tensor(similarity, dtype=torch.float32, device=device).view(len(boxes), len(boxes)),
    )


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_equals_a_plain_loop_on_a_thousand_cases_with_ties(device):
    suppressed, spared, sizes = 0, 0, set()
    for seed in range(CASES):
        *case, generator = random_case(seed)
        # Eighths meet cosines exactly; a half and a quarter are IoUs that these boxes have.
        low, high = sorted(generator.choice([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]) for _ in range(2))
        threshold = generator.choice([0.0, 0.25, 0.5, 0.7])
        expected = plain_odam_nms(*case, threshold, low, high)
        found = odam_nms(*tensors(*case, device), threshold, low, high)
        assert found.dtype == torch.int64 and found.device.type == device
        assert found.tolist() == expected, seed
        stock = set(plain_odam_nms(*case, threshold, -1, 2))
        suppressed += bool(stock - set(expected))
        spared += bool(set(expected) - stock)
        sizes.add(len(case[0]))
    # The cases do tell the rule from plain NMS, either way.
    assert suppressed > 100 and spared > 100 and {0, 1} <= sizes


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7])
def test_without_a_word_of_the_maps_it_is_batched_nms(threshold):
    dropped = 0
    for seed in range(CASES):
        *case, generator = random_case(seed)
        boxes, scores, classes, similarity = tensors(*case)
        if seed % 2:  # crowds at four places, and high classes, which batched_nms rounds
            corner = (torch.rand(4, 2) * 900)[torch.randint(0, 4, (len(boxes),))] + torch.rand(len(boxes), 2) * 12
            boxes = torch.cat([corner, corner + 30 + torch.rand(len(boxes), 2) * 10], 1)
            classes = classes + generator.randrange(200)
        expected = batched_nms(boxes, scores, classes, threshold)
        assert torch.equal(odam_nms(boxes, scores, classes, similarity, threshold, -1.0, 2.0), expected), seed
        dropped += len(boxes) - len(expected)
    assert dropped > CASES / 2


@pytest.mark.parametrize("count", [999, 1000, 1001, 1600])
def test_many_boxes_are_batched_nmss_either_way_it_takes(count):
    corner = torch.rand(count, 2) * 300
    boxes = torch.cat([corner, corner + 10 + torch.rand(count, 2) * 80], 1)
    scores = (torch.rand(count) * 50).round() / 50
    classes = torch.randint(0, 80, (count,)) // 20 * 26
    expected = batched_nms(boxes, scores, classes, 0.5)
    assert len(expected) < count
    assert torch.equal(odam_nms(boxes, scores, classes, torch.rand(count, count), 0.5, -1.0, 2.0), expected)


def test_classes_do_not_meet_beyond_the_images_border():
    # batched_nms moves class 1 by max + 1 = 11: its box then lies on that of class 0.
    boxes, scores = torch.tensor([[0.0, 0, 10, 10], [-11.0, -11, -1, -1]]), torch.tensor([0.9, 0.8])
    assert odam_nms(boxes, scores, torch.tensor([0, 1]), torch.ones(2, 2), 0.5, 0.3, 0.7).tolist() == [0, 1]


def test_by_hand():
    # Two boxes that overlap by 80 / 120 = .67, and one far away. Of the pair the worse stays while its map differs from
    # the better one's; the far one goes when its map is the better one's.
    boxes = torch.tensor([[0.0, 0, 10, 10], [2.0, 0, 12, 10], [50.0, 0, 60, 10]])
    scores, classes = torch.tensor([0.7, 0.9, 0.8]), torch.tensor([4, 4, 4])

    def kept(pair, far):
        similarity = torch.tensor([[1.0, pair, 0.0], [pair, 1.0, far], [0.0, far, 1.0]])
        return odam_nms(boxes, scores, classes, similarity, 0.6, 0.3, 0.7).tolist()

    assert kept(0.2, 0.0) == [1, 2, 0]
    assert kept(0.4, 0.0) == [1, 2]
    assert kept(0.2, 0.8) == [1, 0]
    assert kept(0.4, 0.8) == [1]


def test_whatever_says_how_alike_its_maps_are_will_do():
    class Maps:
        def similarity(self):
            return torch.tensor([[1.0, 0.9], [0.9, 1.0]])

    boxes = torch.tensor([[0.0, 0, 10, 10], [50.0, 0, 60, 10]])
    assert odam_nms(boxes, torch.tensor([0.1, 0.2]), torch.tensor([0, 0]), Maps(), 0.6, 0.3, 0.7).tolist() == [1]


@pytest.mark.parametrize("method", ["linear", "gaussian"])
@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_soft_nms_equals_a_plain_loop(method, device):
    dropped = 0
    for seed in range(200):
        boxes, scores, classes, similarity, generator = random_case(seed, many=12)
        options = (generator.choice([0.25, 0.5]), generator.choice([0.25, 0.5]), generator.choice([0.0, 0.053, 0.217]))
        expected, values = plain_soft_nms(boxes, scores, classes, method, *options)
        found, decayed = soft_nms(*tensors(boxes, scores, classes, similarity, device)[:3], method, *options)
        assert found.device.type == device and found.dtype == torch.int64 and decayed.dtype == torch.float32
        assert found.tolist() == expected, seed
        assert decayed.tolist() == pytest.approx(values, abs=1e-6)
        few, best = soft_nms(*tensors(boxes, scores, classes, similarity, device)[:3], method, *options, most=3)
        assert torch.equal(few, found[:3]) and torch.equal(best, decayed[:3])
        dropped += len(boxes) - len(expected)
    assert dropped > 30


def test_soft_nms_by_hand():
    # IoU .67: linear leaves .6 * (1 - 2 / 3) = .2, below the threshold of .7 all; gaussian .6 * exp(-(4 / 9) / .5).
    boxes, scores = torch.tensor([[0.0, 0, 10, 10], [2.0, 0, 12, 10]]), torch.tensor([0.6, 0.9])
    classes = torch.tensor([0, 0])
    assert soft_nms(boxes, scores, classes)[0].tolist() == [1, 0]
    assert soft_nms(boxes, scores, classes)[1].tolist() == pytest.approx([0.9, 0.2])
    assert soft_nms(boxes, scores, classes, iou_threshold=0.7)[1].tolist() == pytest.approx([0.9, 0.6])
    assert soft_nms(boxes, scores, classes, "gaussian")[1].tolist() == pytest.approx([0.9, 0.6 * math.exp(-8 / 9)])
    assert soft_nms(boxes, scores, classes, min_score=0.2001)[0].tolist() == [1]


BOXES, SCORES, CLASSES, ALIKE = (
    torch.tensor([[0.0, 0, 1, 1]] * 2),
    torch.tensor([0.5, 0.4]),
    torch.zeros(2),
    torch.eye(2),
)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"scores": torch.tensor([0.5, math.nan])}, "`scores` must be numbers; got NaN for box 1"),
        ({"boxes": torch.tensor([[0.0, 0, 1, 1], [3.0, 0, 2, 1]])}, r"`boxes` must have x1 <= x2 .* for box 1"),
        ({"boxes": torch.tensor([[0.0, 2, 1, 1], [3.0, 0, 4, 1]])}, r"`boxes` must have x1 <= x2 .* for box 0"),
        ({"boxes": torch.tensor([[0.0, 0, 1, 1], [3.0, 0, math.inf, 1]])}, "`boxes` must be finite; .* for box 1"),
        ({"boxes": torch.zeros(2, 5)}, r"`boxes` must be \(R, 4\); got \(2, 5\)"),
        ({"scores": SCORES[:1]}, r"`scores` must be \(R,\) = \(2,\); got \(1,\)"),
        ({"classes": CLASSES[:1]}, r"`classes` must be \(R,\) = \(2,\); got \(1,\)"),
        ({"similarity": torch.eye(3)}, r"`similarity` must be \(R, R\) = \(2, 2\) numbers; got \(3, 3\)"),
        ({"similarity": ALIKE * math.nan}, r"`similarity` must be .*; got NaN"),
        ({"iou_threshold": 1.5}, r"`iou_threshold` must be in \[0, 1\]; got 1.5"),
        ({"iou_threshold": math.nan}, "`iou_threshold` must be .*; got nan"),
        ({"low": -1.5}, r"`low` must be in \[-1, 2\]; got -1.5"),
        ({"high": 2.5}, r"`high` must be in \[-1, 2\]; got 2.5"),
        ({"low": 0.8}, "`low` must be at most `high`; got low=0.8 and high=0.7: exchange them"),
    ],
)
def test_errors_name_the_argument(change, message):
    good = {"boxes": BOXES, "scores": SCORES, "classes": CLASSES, "similarity": ALIKE}
    good |= {"iou_threshold": 0.6, "low": 0.3, "high": 0.7}
    assert odam_nms(**good).tolist() == [0, 1]
    with pytest.raises(ValueError, match=message):
        odam_nms(**(good | change))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"method": "hard"}, r"`method` must be one of \['linear', 'gaussian'\]; got 'hard'"),
        ({"iou_threshold": -0.1}, "`iou_threshold` must be"),
        ({"sigma": 0.0}, "`sigma` must be a number > 0; got 0.0"),
        ({"min_score": -0.1}, "`min_score` must be"),
        ({"scores": -SCORES}, "`scores` must be at least 0; got -0.5: give probabilities"),
        ({"scores": SCORES * math.nan}, "`scores` must be numbers; got NaN for box 0"),
    ],
)
def test_errors_of_soft_nms_name_the_argument(change, message):
    with pytest.raises(ValueError, match=message):
        soft_nms(**({"boxes": BOXES, "scores": SCORES, "classes": CLASSES} | change))
