"""Windows of gradients, against torch's own convolutions and autograd."""

import pytest
import torch
from torch.nn.functional import conv2d, conv_transpose2d

from odam_d2.ops.receptive_field import WindowedConvolution, cell_table, window_cells


def crop(maps, image_index, y, x, radius):
    """(n, C, S, S) windows of (N, C, H, W) maps, zero beyond the grid."""
    size = 2 * radius + 1
    cells, index = window_cells(image_index, y - radius, x - radius, (size, size), tuple(maps.shape[2:]))
    return cell_table(maps, cells)[index].permute(2, 3, 0, 1)


def test_windows_by_hand():
    # A 2 x 3 grid holding 0 .. 5; around its first and last cell, with zeros beyond.
    maps = torch.arange(6.0).view(1, 1, 2, 3)
    found = crop(maps, torch.tensor([0, 0]), torch.tensor([0, 1]), torch.tensor([0, 2]), 1)
    assert found[:, 0].tolist() == [
        [[0, 0, 0], [0, 0, 1], [0, 3, 4]],
        [[1, 2, 0], [4, 5, 0], [0, 0, 0]],
    ]


def test_a_cell_of_several_windows_is_looked_up_once():
    # Windows of 3 x 3 around (0, 0) and (0, 1) of a 2 x 3 grid hold 4 and 6 cells, together all 6.
    zero = torch.tensor([0, 0])
    cells, index = window_cells(zero, zero - 1, torch.tensor([-1, 0]), (3, 3), (2, 3))
    assert cells.tolist() == [0, 1, 2, 3, 4, 5]
    assert index[:, :, 0].tolist() == [[6, 6, 6], [6, 0, 1], [6, 3, 4]]
    assert index[:, :, 1].tolist() == [[6, 6, 6], [0, 1, 2], [3, 4, 5]]


def test_windows_of_several_images_and_channels():
    maps = torch.randn(2, 3, 5, 7)
    found = crop(maps, torch.tensor([1]), torch.tensor([2]), torch.tensor([3]), 2)
    assert torch.equal(found[0], maps[1, :, 0:5, 1:6])
    none = torch.zeros(0, dtype=torch.int64)
    assert crop(maps, none, none, none, 1).shape == (0, 3, 3, 3)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("size", [1, 3, 5, 7, 9, 11])
def test_a_step_is_torchs_transposed_convolution(kernel, size):
    weight, gradient = torch.randn(16, 12, kernel, kernel), torch.randn(size, size, 6, 16)
    expected = conv_transpose2d(gradient.permute(2, 3, 0, 1).double(), weight.double()).permute(2, 3, 0, 1)
    found = WindowedConvolution(weight).step_back(gradient)
    assert found.shape == (size + kernel - 1, size + kernel - 1, 6, 12) and found.dtype == torch.float32
    assert float((found - expected).abs().max() / expected.abs().max()) < 3e-6


def test_a_step_of_no_window():
    assert WindowedConvolution(torch.randn(4, 5, 3, 3)).step_back(torch.zeros(3, 3, 0, 4)).shape == (5, 5, 0, 5)


def test_two_layers_back_are_autograds_also_at_the_border():
    weight1, weight2 = torch.randn(6, 4, 3, 3), torch.randn(5, 6, 3, 3)
    features = torch.randn(1, 4, 6, 8, requires_grad=True)
    hidden = conv2d(features, weight1, padding=1).relu()
    outputs = conv2d(hidden, weight2, padding=1)
    zero = torch.tensor([0])
    for y, x, channel in ((0, 0, 1), (3, 4, 2), (5, 7, 4), (0, 7, 0)):
        (expected,) = torch.autograd.grad(outputs[0, channel, y, x], features, retain_graph=True)
        place = (zero, torch.tensor([y]), torch.tensor([x]))
        mask = crop(hidden > 0, *place, 1)
        gradient = (weight2[channel] * mask).permute(2, 3, 0, 1)
        found = WindowedConvolution(weight1).step_back(gradient).permute(2, 3, 0, 1)
        assert found.shape == (1, 4, 5, 5)
        wanted, inside = crop(expected, *place, 2), crop(torch.ones(1, 1, 6, 8), *place, 2)
        assert torch.allclose(found * inside, wanted, atol=1e-5)
