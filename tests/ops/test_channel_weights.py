"""Weights and sensitivities of channels, by hand and against loops."""

import pytest
import torch

from odam_d2.ops.channel_weights import mean_weights, plus_plus_weights, spatial_sensitivity

# One detection, one attribute, two channels on a window of 1 x 2 cells of a level of 8.
GRADIENTS = torch.tensor([[[[[1.0, 3.0]], [[-2.0, 0.5]]]]])


def test_mean_by_hand():
    # (1 + 3) / 8 = .5;  (-2 + .5) / 8 = -.1875: cells outside of the window count, with zero.
    assert mean_weights(GRADIENTS, 8).tolist() == [[[0.5, -0.1875]]]


def test_plus_plus_by_hand():
    # S = 1:  1 / (2 + 1) + 3 / (2 + 3) = 14 / 15.   S = 4:  .5 / (2 + 2) = .125; the negative one does not count.
    found = plus_plus_weights(GRADIENTS, torch.tensor([[1.0, 4.0]]))
    assert found.flatten().tolist() == pytest.approx([14 / 15, 0.125])


def test_plus_plus_is_the_papers_expression():
    gradients, totals = torch.randn(2, 3, 4, 5, 6), torch.rand(2, 4) * 10
    found = plus_plus_weights(gradients, totals)
    for r, k, c in ((0, 0, 0), (1, 2, 3), (0, 1, 2)):
        expected = 0.0
        for g in gradients[r, k, c].flatten().tolist():
            alpha = g**2 / (2 * g**2 + float(totals[r, c]) * g**3)
            expected += alpha * max(g, 0.0)
        assert float(found[r, k, c]) == pytest.approx(expected, rel=1e-4)


def test_sensitivity_by_hand():
    # |1| / 3, |3| / 3;  |-2| / 2, |.5| / 2.
    assert spatial_sensitivity(GRADIENTS).flatten().tolist() == pytest.approx([1 / 3, 1.0, 1.0, 0.25])


def test_a_channel_without_gradient_is_not_sensitive():
    assert spatial_sensitivity(torch.zeros(1, 1, 1, 2, 2)).tolist() == [[[[[0.0, 0.0], [0.0, 0.0]]]]]


def test_no_detections():
    none = torch.zeros(0, 2, 4, 3, 3)
    assert mean_weights(none, 9).shape == plus_plus_weights(none, torch.zeros(0, 4)).shape == (0, 2, 4)
    assert spatial_sensitivity(none).shape == none.shape
