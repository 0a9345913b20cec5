"""What is read off candidates, by hand and on the bundled detectors, one image after the other and together."""

import pytest
import torch
from torch import nn

from odam_d2 import model_zoo
from odam_d2.evaluation import faithfulness_curves, object_scorer
from odam_d2.evaluation.metrics.candidates import best_score
from tests.helpers import random_input
from tests.wants import RTDETR

# On an object of 10 x 10: IoU 1; .5, which is not enough; .6; the same, but 40 pixels to the right.
BOX = torch.tensor([0.0, 0, 10, 10])
BOXES = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 6], [40, 0, 50, 10]])
SCORES = torch.tensor([[0.2, 0.1], [0.9, 0.1], [0.4, 0.7], [0.8, 0.8]])


def bundled(name):
    """A trained detector, an image of 96 x 128, and what it says there of class 0: boxes in the image, scores."""
    model = model_zoo.get(f"synthetic/{name}_compact_FPN", device="cpu")
    image = random_input(96, 128)["image"]
    with torch.no_grad():
        ((boxes, scores),) = model.candidates([{"image": image}])
    boxes = (boxes if boxes.dim() == 2 else boxes[:, 0]).clamp(min=0).minimum(torch.tensor([128.0, 96, 128, 96]))
    return model, image, boxes, scores[:, 0]


class Said(nn.Module):
    """Says what it is told to."""

    def __init__(self, *candidates):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.said = candidates
        self.calls = []

    def candidates(self, batched_inputs):
        self.calls.append([int(entry["image"].flatten()[0]) for entry in batched_inputs])
        return [self.said[number] for number in self.calls[-1]]


def test_the_best_of_the_class_on_the_object_counts():
    assert best_score(BOXES, SCORES, 0, BOX, (20, 60)).item() == pytest.approx(0.4)
    assert best_score(BOXES, SCORES, 1, BOX, (20, 60)).item() == pytest.approx(0.7)
    assert best_score(BOXES[1:2], SCORES[1:2], 0, BOX, (20, 60)).item() == 0.0
    assert best_score(BOXES[:0], SCORES[:0], 0, BOX, (20, 60)).item() == 0.0


def test_boxes_of_their_own_for_each_class():
    # For class 1 the first candidate lies elsewhere, so its .9 doesn't count.
    boxes = torch.stack([BOXES[:2], BOXES[[3, 2]]], 1)
    assert best_score(boxes, torch.tensor([[0.3, 0.9], [0.8, 0.6]]), 1, BOX, (20, 60)).item() == pytest.approx(0.6)


def test_candidates_are_clipped_and_must_be_finite():
    # 10 x 30, of which 10 x 10 lie in the image: IoU 1, not 1 / 3.
    long = torch.tensor([[0.0, 0, 10, 30]])
    assert best_score(long, torch.tensor([[0.5]]), 0, BOX, (10, 10)).item() == 0.5
    assert best_score(long, torch.tensor([[0.5]]), 0, BOX, (60, 60)).item() == 0.0
    bad = torch.tensor([[float("nan"), 0, 10, 10], [0, 0, 10, 10]])
    assert best_score(bad, torch.tensor([[0.5], [float("nan")]]), 0, BOX, (20, 60)).item() == 0.0


@pytest.mark.parametrize("workers, calls", [(1, [[0, 1]]), (2, [[0], [1]])])
def test_objects_are_looked_for_in_their_own_image(workers, calls):
    model = Said((BOXES, SCORES), (BOXES[:1], SCORES[:1])).eval()
    images = torch.arange(2.0)[:, None, None, None].expand(2, 3, 20, 60)
    score = object_scorer(model, workers)
    found = score(images, torch.tensor([0, 1, 0]), BOX.expand(3, 4), torch.tensor([1, 0, 0]))
    assert found.tolist() == pytest.approx([0.2, 0.7, 0.4]) and sorted(model.calls) == calls


@pytest.mark.parametrize("workers, sizes", [(1, [4, 4, 1]), (2, [4, 4, 1]), (4, [3, 3, 3])])
def test_at_most_four_images_go_together_on_a_cpu(workers, sizes):
    model = Said(*[(BOXES, SCORES * k / 10) for k in range(9)]).eval()
    images, where = torch.arange(9.0)[:, None, None, None].expand(9, 3, 20, 60), torch.arange(9).flip(0)
    found = object_scorer(model, workers)(images, torch.ones(9, dtype=torch.int64), BOX.expand(9, 4), where)
    assert sorted(map(len, model.calls), reverse=True) == sizes
    assert found.tolist() == pytest.approx([0.07 * k for k in range(8, -1, -1)])


@pytest.mark.parametrize("amp", [False, True])
def test_the_precision_is_the_callers_choice(amp):
    """Whatever autocast stands around the call."""

    class Precise(Said):
        def candidates(self, batched_inputs):
            kinds.append((self.weight[None] @ self.weight[:, None]).dtype)
            return [(boxes.to(kinds[-1]), scores.to(kinds[-1])) for boxes, scores in super().candidates(batched_inputs)]

    kinds, images = [], torch.zeros(1, 3, 20, 60)
    score = object_scorer(Precise((BOXES, SCORES)).eval(), 1, amp=amp)
    with torch.autocast("cpu", torch.bfloat16):
        found = score(images, torch.tensor([1]), BOX[None], torch.tensor([0]))
    assert kinds == [torch.bfloat16 if amp else torch.float32] and found.dtype == torch.float32
    assert found.item() == (0.69921875 if amp else pytest.approx(0.7, abs=1e-7))  # .7 in eight bits


@pytest.mark.parametrize("name", ["faster_rcnn", "mask_rcnn", "cascade_rcnn", "fcos", RTDETR])
def test_mixed_precision_is_near_the_whole(name):
    model, image, boxes, scores = bundled(name)
    rows = scores.topk(3).indices
    asked = image[None], torch.zeros(3, dtype=torch.int64), boxes[rows], torch.zeros(3, dtype=torch.int64)
    whole = object_scorer(model)(*asked)
    mixed = object_scorer(model.to(memory_format=torch.channels_last), amp=True)(*asked)
    assert float(whole.min()) > 0 and not torch.equal(whole, mixed)
    assert torch.allclose(mixed, whole, rtol=0.05, atol=0.005)


def test_what_cannot_be_scored_is_said():
    with pytest.raises(TypeError, match="got Linear: build it with"):
        object_scorer(nn.Linear(1, 1))
    with pytest.raises(ValueError, match="at least 1; got 0"):
        object_scorer(Said(), 0)
    with pytest.raises(RuntimeError, match="eval mode"):
        object_scorer(Said().train())(torch.zeros(0, 3, 4, 4), torch.zeros(0), torch.zeros(0, 4), torch.zeros(0))


@pytest.mark.parametrize("name", ["faster_rcnn", "retinanet"])
def test_batches_and_threads_give_the_numbers_of_one_by_one(name):
    """The plain loop: one object, one step, one image at a time, each with all the candidates there are."""
    model, image, boxes, _ = bundled(name)
    # Two candidates of two sizes are the objects: what is certain to be seen in the untouched image.
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    rows = torch.stack([((area - wanted).abs()).argmin() for wanted in (1000.0, 4000.0)])
    classes = torch.zeros(2, dtype=torch.int64)
    heat = torch.rand(2, 96, 128)
    together = faithfulness_curves(object_scorer(model, 2), image, heat, classes, boxes[rows], batch_size=7)
    asked = 0

    def plain(images, classes, boxes, where):
        nonlocal asked
        asked += len(images)
        with torch.no_grad():
            (found,) = model.candidates([{"image": images[0]}])
        return torch.stack([best_score(*found, int(c), b, (96, 128)) for c, b in zip(classes, boxes, strict=True)])

    for row in range(2):
        one = slice(row, row + 1)
        alone = faithfulness_curves(plain, image, heat[one], classes[one], boxes[rows][one], batch_size=1)
        assert float(alone.untouched) > 0
        assert torch.allclose(together.deletion[one], alone.deletion, atol=1e-5)
        assert torch.allclose(together.insertion[one], alone.insertion, atol=1e-5)
    assert asked == 44
