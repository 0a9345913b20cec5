"""Spatial Sensitive Grad-CAM++: by hand, and by plain autograd and loops."""

import pytest
import torch

from tests.helpers import combined, compact_detector, explained_box, given, random_input, relative_error, window_chunk

INPUTS, BOX = [random_input(96, 128)], given((96, 128), [[20, 15, 90, 80]], [1])


@pytest.fixture(scope="module")
def model():
    return compact_detector("faster_rcnn")


def test_by_hand():
    # As for Grad-CAM++ w = 14 / 15 and 1 / 8; sensitivities [1/3 1] and [1 1/4].
    # Cell 0: 14/15 * 1/3 * 1 + 1/8 * 1 * 2;  cell 1: 14/15 * 1 * (-3) + 1/8 * 1/4 * 2.
    features = torch.tensor([[[1.0, -3.0]], [[2.0, 2.0]]])
    chunk = window_chunk(torch.tensor([[[[1.0, 3.0]], [[-2.0, 0.5]]]]), features)
    assert combined("ssgradcam++", chunk)[0] == pytest.approx([14 / 45 + 1 / 4, -42 / 15 + 1 / 16])


def test_against_plain_autograd(model):
    found, gradient, features, _ = explained_box(model, INPUTS, BOX, "ssgradcam++")
    expected = torch.zeros(features.shape[1:])
    for g, a in zip(gradient, features, strict=True):
        if bool(g.any()):
            positive = g.clamp(min=0)
            weight = (positive / (2 + a.clamp(min=0).sum() * positive)).sum()
            expected += weight * (g.abs() / g.abs().max()) * a
    assert relative_error(found[None], expected.clamp(min=0)[None]) < 1e-4
