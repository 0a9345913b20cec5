"""Grad-CAM++: by hand, and by plain autograd and loops."""

import pytest
import torch

from tests.helpers import combined, compact_detector, explained_box, given, random_input, relative_error, window_chunk

INPUTS, BOX = [random_input(96, 128)], given((96, 128), [[20, 15, 90, 80]], [1])


@pytest.fixture(scope="module")
def model():
    return compact_detector("faster_rcnn")


def test_by_hand():
    # Features 1 x 2: [1 -3] and [2 2], their positive sums 1 and 4; gradients [1 3] and [-2 .5].
    # w = 1 / (2 + 1) + 3 / (2 + 3) = 14 / 15 and .5 / (2 + 2) = 1 / 8.
    features = torch.tensor([[[1.0, -3.0]], [[2.0, 2.0]]])
    chunk = window_chunk(torch.tensor([[[[1.0, 3.0]], [[-2.0, 0.5]]]]), features)
    assert combined("gradcam++", chunk)[0] == pytest.approx([14 / 15 + 1 / 4, -3 * 14 / 15 + 1 / 4])


def test_against_plain_autograd(model):
    found, gradient, features, _ = explained_box(model, INPUTS, BOX, "gradcam++")
    expected = torch.zeros(features.shape[1:])
    for g, a in zip(gradient, features, strict=True):
        total = a.clamp(min=0).sum()
        alpha = torch.where(g > 0, g**2 / (2 * g**2 + total * g**3), 0.0)
        expected += (alpha * g.clamp(min=0)).sum() * a
    assert relative_error(found[None], expected.clamp(min=0)[None]) < 1e-4
