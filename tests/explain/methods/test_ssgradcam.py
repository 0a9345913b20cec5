"""Spatial Sensitive Grad-CAM: by hand, and by plain autograd and loops."""

import pytest
import torch

from tests.helpers import combined, compact_detector, explained_box, given, random_input, relative_error, window_chunk

INPUTS, BOX = [random_input(96, 128)], given((96, 128), [[20, 15, 90, 80]], [1])


@pytest.fixture(scope="module")
def model():
    return compact_detector("faster_rcnn")


def test_by_hand():
    # Gradients [1 3] and [-2 .5] in a row of four cells: means 1 and -3 / 8, sensitivities [1/3 1] and [1 1/4].
    # Cell 0: 1 * 1/3 * 3 - 3/8 * 1 * 8 = -2;  cell 1: 1 * 1 * 2 - 3/8 * 1/4 * 8 = 1.25.
    features = torch.tensor([[[9.0, 3.0, 2.0, 9.0]], [[9.0, 8.0, 8.0, 9.0]]])
    chunk = window_chunk(torch.tensor([[[[1.0, 3.0]], [[-2.0, 0.5]]]]), features, place=(0, 1))
    assert combined("ssgradcam", chunk)[0] == pytest.approx([-2.0, 1.25])


def test_against_plain_autograd(model):
    found, gradient, features, _ = explained_box(model, INPUTS, BOX, "ssgradcam")
    expected = torch.zeros(features.shape[1:])
    for g, a in zip(gradient, features, strict=True):
        if bool(g.any()):
            expected += g.mean() * (g.abs() / g.abs().max()) * a
    assert relative_error(found[None], expected.clamp(min=0)[None]) < 1e-4
