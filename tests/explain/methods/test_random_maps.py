"""The control: numbers that depend on nothing but the seed and the place in the image's list."""

import pytest
import torch

from odam_d2.explain import build_explainer
from tests.helpers import compact_detector, given, random_input

INPUTS = [random_input(64, 100, 128, 200), random_input(96, 64, seed=1)]
BOXES = [given((128, 200), [[20, 20, 100, 100], [0, 0, 50, 50]], [1, 0]), given((96, 64), [[5, 5, 60, 60]], [2])]


@pytest.fixture(scope="module")
def model():
    return compact_detector("faster_rcnn")


def maps(model, inputs=INPUTS, boxes=BOXES, attributes=("score", "left"), **options):
    explainer = build_explainer(model, "random", attributes, **options)
    return [result["instances"].heatmaps for result in explainer(inputs, boxes)]


def test_draws_of_each_image_begin_anew(model):
    one, other = maps(model, stride=10, seed=3)
    assert one.grids.tolist() == [[7, 10]] * 2 and other.grids.tolist() == [[10, 7]]
    assert one.strides.tolist() == [[10.0, 10.0]] * 2
    expected = torch.rand(2, 2, 7, 10, generator=torch.Generator().manual_seed(3))
    assert torch.equal(one.values.view(2, 2, 7, 10), expected.transpose(0, 1))
    expected = torch.rand(1, 2, 10, 7, generator=torch.Generator().manual_seed(3))
    assert torch.equal(other.values.view(2, 1, 10, 7), expected.transpose(0, 1))
    assert torch.equal(maps(model, INPUTS[1:], BOXES[1:], stride=10, seed=3)[0].values, other.values)
    assert not torch.equal(maps(model, stride=10, seed=4)[0].values, one.values)


def test_the_detector_and_the_class_do_not_matter(model):
    boxes = [given((128, 200), [[0, 0, 30, 30], [90, 90, 120, 120]], [2, 2])]
    other = compact_detector("retinanet")
    assert torch.equal(maps(model)[0].values, maps(other, INPUTS[:1], boxes)[0].values)


def test_a_image_without_boxes(model):
    assert len(maps(model, INPUTS[:1], [given((128, 200), [], [])])[0]) == 0


def test_a_stride_below_one(model):
    with pytest.raises(ValueError, match="`stride` must be at least 1; got 0"):
        build_explainer(model, "random", stride=0)
