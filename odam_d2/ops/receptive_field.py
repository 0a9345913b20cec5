"""Gradients through a short stack of convolutions, in the few cells that one output sees.

An output of a dense head at cell (y, x) depends on a window of features that grows by a cell with every 3 x 3
convolution. Walking back from it, only that window need be computed, for all outputs at once.

Shape letters: n outputs, N pictures, C channels, (H, W) the grid, r the radius of a window of (2r + 1)^2 cells.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def crop_windows(maps: Tensor, image_index: Tensor, y: Tensor, x: Tensor, radius: int) -> Tensor:
    """Windows around cells, zero beyond the grid.

    Args:
        maps: (N, H, W, C), channels last, of any dtype.
        image_index: (n,) int64, the picture of each window.
        y: (n,) int64, row of each window's central cell.
        x: (n,) int64, its column.
        radius: r.

    Returns:
        (n, C, 2r + 1, 2r + 1), contiguous with channels last.
    """
    num, height, width, channels = maps.shape
    reach = torch.arange(-radius, radius + 1, device=maps.device)
    rows, columns = y[:, None] + reach, x[:, None] + reach
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    cells = (image_index[:, None, None] * height + rows.clamp(0, height - 1)[:, :, None]) * width
    cells = cells + columns.clamp(0, width - 1)[:, None, :]
    windows = maps.reshape(num * height * width, channels)[cells.flatten()].view(*cells.shape, channels)
    return (windows * inside[..., None]).permute(0, 3, 1, 2)


def step_back(gradient: Tensor, derivative: Tensor, weight: Tensor) -> Tensor:
    """From the gradient on a layer's output to that on its input: activation, then convolution of stride 1.

    Args:
        gradient: (n, C_out, 2r + 1, 2r + 1) on windows of the layer's output.
        derivative: the same shape, of what follows the convolution (the ReLU's mask, times the norm's scale), zero
            beyond the grid.
        weight: (C_out, C_in, k, k) of the convolution, k odd.

    Returns:
        (n, C_in, 2r + k, 2r + k) on windows of the layer's input around the same cells. Cells beyond the grid hold
        what zero padding would have seen; the next derivative, or the features' own zeros, must cancel them.
    """
    return F.conv_transpose2d(gradient * derivative, weight)
