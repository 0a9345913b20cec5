"""LayerCAM: by hand, and by plain autograd and loops."""

import pytest
import torch

from tests.helpers import combined, compact_detector, explained_box, given, random_input, relative_error, window_chunk

INPUTS, BOX = [random_input(96, 128)], given((96, 128), [[20, 15, 90, 80]], [1])


@pytest.fixture(scope="module")
def model():
    return compact_detector("faster_rcnn")


def test_by_hand():
    # Negative gradients don't count: 1 * 2 + 3 * (-1) = -1;  2 * 2 + 0 = 4.
    chunk = window_chunk(torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]]), torch.tensor([[[2.0, 2.0]], [[-1.0, -1.0]]]))
    assert combined("layercam", chunk) == [[-1.0, 4.0]]


def test_against_plain_autograd(model):
    found, gradient, features, _ = explained_box(model, INPUTS, BOX, "layercam")
    expected = torch.zeros(features.shape[1:])
    for g, a in zip(gradient, features, strict=True):
        expected += torch.where(g > 0, g, 0.0) * a
    assert relative_error(found[None], expected.clamp(min=0)[None]) < 1e-4
