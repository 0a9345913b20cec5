"""Grad-CAM over the level and in the box: by hand, and by plain autograd and loops."""

import pytest
import torch

from tests.helpers import combined, compact_detector, explained_box, given, random_input, relative_error, window_chunk

INPUTS, BOX = [random_input(96, 128)], given((96, 128), [[20, 15, 90, 80]], [1])


@pytest.fixture(scope="module")
def model():
    return compact_detector("faster_rcnn")


# Two channels on 2 x 2 cells of 1 pixel; the gradient is known in the right column alone.
FEATURES = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0], [0.0, 1.0]]])
GRADIENTS = torch.tensor([[[[4.0], [0.0]], [[-4.0], [-8.0]]]])  # (K, C, h, w)


def test_level_by_hand():
    # Means over all four cells: 4 / 4 = 1 and (-4 - 8) / 4 = -3.  1 * [1 2; 3 4] - 3 * [1 0; 0 1] = [-2 2; 3 1].
    chunk = window_chunk(GRADIENTS, FEATURES, place=(0, 1))
    assert combined("gradcam", chunk) == [[-2.0, 2.0], [3.0, 1.0]]


def test_box_by_hand():
    # The upper row is under the box: means over its two cells 4 / 2 = 2 and -4 / 2 = -2.
    # 2 * [1 2] - 2 * [1 0] = [0 4], and nothing below.
    chunk = window_chunk(GRADIENTS, FEATURES, place=(0, 1), box=(0.0, 0.0, 2.0, 1.0))
    assert combined("gradcam_box", chunk) == [[0.0, 4.0], [0.0, 0.0]]


def test_a_box_without_a_cell_centre_has_the_cell_of_its_middle():
    # From (1.6, .6) to (1.9, .9) no centre lies inside; cell (0, 1) does it: 4 * 2 - 4 * 0 = 8.
    chunk = window_chunk(GRADIENTS, FEATURES, place=(0, 1), box=(1.6, 0.6, 1.9, 0.9))
    assert combined("gradcam_box", chunk) == [[0.0, 8.0], [0.0, 0.0]]


def test_level_against_plain_autograd(model):
    found, gradient, features, _ = explained_box(model, INPUTS, BOX, "gradcam")
    expected = torch.zeros(features.shape[1:])
    for g, a in zip(gradient, features, strict=True):
        expected += g.mean() * a
    assert bool(expected.gt(0).any())
    assert relative_error(found[None], expected.clamp(min=0)[None]) < 1e-4


def test_box_against_plain_autograd(model):
    found, gradient, features, trace = explained_box(model, INPUTS, BOX, "gradcam_box")
    stride = trace.strides[trace.level_names[int(trace.level_index[0, 0])]]
    left, top, right, bottom = trace.boxes[0].tolist()
    inside = torch.zeros(features.shape[1:], dtype=torch.bool)
    for y in range(inside.shape[0]):
        for x in range(inside.shape[1]):
            inside[y, x] = left <= (x + 0.5) * stride <= right and top <= (y + 0.5) * stride <= bottom
    assert 1 < int(inside.sum()) < inside.numel()
    expected = torch.zeros(features.shape[1:])
    for g, a in zip(gradient, features, strict=True):
        expected += g[inside].mean() * a
    assert relative_error(found[None], (expected * inside).clamp(min=0)[None]) < 1e-4
