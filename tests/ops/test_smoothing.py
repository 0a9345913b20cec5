"""Phi, against scipy's Gaussian filter."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from odam_d2.ops.roi_align import roi_align_weights
from odam_d2.ops.smoothing import gaussian_weights, smooth_window_weights


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.7])
def test_matrix_is_scipys_filter_with_zero_padding(sigma):
    signal = torch.randn(20, dtype=torch.float64)
    matrix = gaussian_weights(torch.tensor([sigma], dtype=torch.float64), 20, 20, 0)[0]
    radius = int(np.ceil(3 * sigma))
    expected = gaussian_filter1d(signal.numpy(), sigma, mode="constant", cval=0.0, radius=radius)
    assert np.allclose((signal @ matrix).numpy(), expected, atol=1e-10)


def test_no_width_copies():
    assert torch.equal(gaussian_weights(torch.zeros(1), 5, 5, 0)[0], torch.eye(5))


def test_smoothing_windows_is_smoothing_the_whole_axis():
    size, low, high = 30, torch.tensor([4.0, 100.0, 500.0, 60.0]), torch.tensor([60.0, 236.0, 600.0, 70.0])
    weights, start, length = roi_align_weights(low, high, size, 7, 1 / 8, 2, True)
    sigma = 0.1 * (high - low) / 8
    wide, new_start, new_length = smooth_window_weights(weights, start, length, sigma, size)
    for r in range(len(low)):
        dense = torch.zeros(7, size)
        dense[:, int(start[r]) : int(start[r] + length[r])] = weights[r, :, : int(length[r])]
        expected = gaussian_filter1d(
            dense.numpy(), float(sigma[r]), axis=1, mode="constant", radius=int(torch.ceil(3 * sigma[r]))
        )
        found = torch.zeros(7, size)
        found[:, int(new_start[r]) : int(new_start[r] + new_length[r])] = wide[r, :, : int(new_length[r])]
        assert np.allclose(found.numpy(), expected, atol=1e-6)
    assert new_length[2] == 0  # a box beyond the map stays without a window
