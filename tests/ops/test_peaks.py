"""Gaussians at the maxima of gradients, by hand and against loops."""

import math

import torch

from odam_d2.ops.peaks import gaussian_weighted_features, peak_places


def test_places_by_hand():
    gradients = torch.zeros(1, 1, 3, 2, 4)
    gradients[0, 0, 0, 1, 2] = -5.0  # the size counts, not the sign
    gradients[0, 0, 0, 0, 0] = 4.0
    gradients[0, 0, 1, 0, 1] = gradients[0, 0, 1, 0, 3] = 2.0  # a tie: the middle, column 2
    gradients[0, 0, 2, 1, 0], gradients[0, 0, 2, 0, 0] = 1.0, 0.9995  # nearly a tie counts as one: row .5
    rows, columns = peak_places(gradients)
    assert rows.tolist() == [[[1.0, 0.0, 0.5]]]
    assert columns.tolist() == [[[2.0, 2.0, 0.0]]]


def test_sum_against_a_loop():
    weights, rows, columns = torch.randn(2, 1, 3), torch.rand(2, 1, 3) * 4, torch.rand(2, 1, 3) * 5
    sigma, features, image_index = torch.tensor([[0.7, 1.5], [2.0, 1.0]]), torch.randn(2, 3, 4, 5), torch.tensor([1, 0])
    found = gaussian_weighted_features(weights, rows, columns, sigma, features, image_index)
    assert found.shape == (2, 1, 4, 5)
    for r in range(2):
        for y in range(4):
            for x in range(5):
                expected = 0.0
                for c in range(3):
                    dy, dx = y - float(rows[r, 0, c]), x - float(columns[r, 0, c])
                    fall = math.exp(-(dy**2) / (2 * float(sigma[r, 0]) ** 2) - dx**2 / (2 * float(sigma[r, 1]) ** 2))
                    expected += float(weights[r, 0, c]) * fall * float(features[image_index[r], c, y, x])
                assert abs(float(found[r, 0, y, x]) - expected) < 1e-5


def test_no_detections():
    none = torch.zeros(0, 2, 3)
    features, image_index = torch.zeros(1, 3, 4, 5), torch.zeros(0, dtype=torch.int64)
    assert gaussian_weighted_features(none, none, none, torch.zeros(0, 2), features, image_index).shape == (0, 2, 4, 5)
