"""Resampling and normalisation, against torch's interpolation and by hand."""

import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate

from odam_d2.ops.maps import area_weights, bilinear_weights, centres_inside, min_max_normalise, resample


def whole(cells: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """start, length and grid of a window that is the whole axis."""
    return torch.tensor([0]), torch.tensor([cells]), torch.tensor([cells])


@pytest.mark.parametrize("output", [(24, 32), (48, 40), (7, 9)])
def test_whole_grid_is_torchs_bilinear_interpolation(output):
    maps = torch.rand(1, 6, 8)
    stride = torch.tensor([4.0])
    rows = bilinear_weights(*whole(6), stride, output[0], 24.0)
    columns = bilinear_weights(*whole(8), stride, output[1], 32.0)
    expected = interpolate(maps[None], output, mode="bilinear", align_corners=False)[0]
    assert torch.allclose(resample(maps, rows, columns), expected, atol=1e-6)


def test_window_is_zero_outside():
    # Cells 2 and 3 of a grid of 6 with stride 2, sampled at every pixel of 12: position of pixel x is (x + .5)/2 - .5.
    weights = bilinear_weights(
        torch.tensor([2]), torch.tensor([2]), torch.tensor([6]), torch.tensor([2.0]), output=12, extent=12.0
    )
    found = (weights[0] @ torch.tensor([1.0, 1.0])).tolist()
    # pixel 3: position 1.25, a quarter of the way from cell 1 (zero) to cell 2; pixel 8: 3.75, a quarter of cell 3.
    assert found == [0, 0, 0, 0.25, 0.75, 1, 1, 0.75, 0.25, 0, 0, 0]


def test_border_cell_goes_on_to_the_border_of_the_grid():
    weights = bilinear_weights(*whole(2), torch.tensor([4.0]), output=8, extent=8.0)
    # Centres at 2 and 6; pixels 0, 1 lie before the first centre.
    assert weights[0, :, 0].tolist() == [1, 1, 0.875, 0.625, 0.375, 0.125, 0, 0]


def test_area_weights_average_blocks():
    maps = torch.rand(1, 8, 12)
    rows = area_weights(torch.tensor([0]), torch.tensor([8]), torch.tensor([4.0]), 2, 16.0)
    columns = area_weights(torch.tensor([0]), torch.tensor([12]), torch.tensor([4.0]), 3, 16.0)
    assert torch.allclose(resample(maps, rows, columns), avg_pool2d(maps, 4), atol=1e-6)


def test_area_weights_of_a_coarser_map_by_hand():
    # One cell of 32 px starting at 32: common cells of 16 px number 2 and 3 lie wholly in it.
    weights = area_weights(torch.tensor([1]), torch.tensor([1]), torch.tensor([32.0]), 5, 16.0)
    assert weights[0, :, 0].tolist() == [0, 0, 1, 1, 0]


def test_min_max_by_hand():
    maps = torch.tensor([[[1.0, 3.0]], [[0.0, 0.0]], [[2.0, 2.0]], [[0.0, 4.0]]])
    assert min_max_normalise(maps).tolist() == [[[0, 1]], [[0, 0]], [[0, 0]], [[0, 1]]]
    assert min_max_normalise(torch.zeros(0, 2, 2)).shape == (0, 2, 2)


@pytest.mark.parametrize("value", [3.0, -3.0])
def test_last_bits_are_no_contrast(value):
    constant = torch.full((2, 2, 2), value)
    constant[0, 0, 0] = torch.nextafter(constant[0, 0, 0], torch.tensor(0.0))
    constant[1, 0, 0] *= 1 - 1e-4
    found = min_max_normalise(constant)
    assert not bool(found[0].any()) and float(found[1].max()) == 1.0


def test_centres_inside_by_hand():
    # Cells of 4 pixels have their centres at 2, 6, 10, 14.
    low, high = torch.tensor([1.0, 6.0, 3.0, -9.0, 15.0]), torch.tensor([11.0, 10.0, 5.0, -3.0, 90.0])
    assert centres_inside(low, high, torch.tensor(4.0), 4).int().tolist() == [
        [1, 1, 1, 0],
        [0, 1, 1, 0],  # a centre on a side is inside
        [0, 1, 0, 0],  # no centre from 3 to 5: the cell of the middle, 4
        [1, 0, 0, 0],  # beyond the grid: the nearest
        [0, 0, 0, 1],
    ]
