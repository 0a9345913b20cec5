"""Gradient times features, by hand and against the slow way."""

import torch

from odam_d2.ops.cam import gradient_times_features, pooled_gradient_times_features, weighted_features


def test_sum_by_hand():
    # Two channels on one row of two cells.  cell 0: 1*2 + 3*(-1) = -1;  cell 1: 2*2 + (-1)*(-1) = 5.
    gradients = torch.tensor([[[1.0, 2.0]], [[3.0, -1.0]]])
    activations = torch.tensor([[[2.0, 2.0]], [[-1.0, -1.0]]])
    assert gradient_times_features(gradients, activations).tolist() == [[-1.0, 5.0]]


def test_sum_from_pooled_gradients_is_that_of_the_full_gradient():
    num, attributes, channels, bins, height, width = 3, 2, 4, 5, 6, 9
    pooled = torch.randn(num, attributes, channels, bins, bins)
    rows, columns = torch.rand(num, bins, height), torch.rand(num, bins, width)
    activations = torch.randn(num, height, width, channels)

    found = pooled_gradient_times_features(pooled, rows, columns, activations)

    for r in range(num):
        for k in range(attributes):
            full = torch.stack([rows[r].T @ pooled[r, k, c] @ columns[r] for c in range(channels)])
            expected = gradient_times_features(full, activations[r].permute(2, 0, 1))
            assert torch.allclose(found[r, k], expected, atol=1e-5)


def test_no_detections_give_no_maps():
    found = pooled_gradient_times_features(
        torch.zeros(0, 2, 4, 7, 7), torch.zeros(0, 7, 8), torch.zeros(0, 7, 8), torch.zeros(0, 8, 8, 4)
    )
    assert found.shape == (0, 2, 8, 8)


def test_sum_can_be_differentiated_twice():
    pooled = torch.randn(1, 1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    activations = torch.randn(1, 4, 5, 2, dtype=torch.float64, requires_grad=True)
    rows, columns = torch.rand(1, 3, 4, dtype=torch.float64), torch.rand(1, 3, 5, dtype=torch.float64)

    def energy(g, a):
        return pooled_gradient_times_features(g, rows, columns, a).pow(2).sum()

    assert torch.autograd.gradcheck(energy, (pooled, activations))
    assert torch.autograd.gradgradcheck(energy, (pooled, activations))


def test_weighted_features_by_hand():
    # Image 1 has the channels [1 2] and [3 -1]: weights 2 and -1 give [-1 5]; image 0 is zero.
    features = torch.tensor([[[[0.0, 0.0]], [[0.0, 0.0]]], [[[1.0, 2.0]], [[3.0, -1.0]]]])
    weights = torch.tensor([[[2.0, -1.0]], [[2.0, -1.0]]])
    found = weighted_features(weights, features, torch.tensor([1, 0]))
    assert found.tolist() == [[[[-1.0, 5.0]]], [[[0.0, 0.0]]]]
    assert weighted_features(weights[:0], features, torch.zeros(0, dtype=torch.int64)).shape == (0, 1, 1, 2)
