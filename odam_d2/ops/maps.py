"""Bringing heat maps from their feature grids to an image or to a common grid.

Cell (i, j) of a grid with stride s is centred at ((j + .5) s, (i + .5) s) in model-input pixels.

Shape letters: R maps, L cells of a window along one axis, O output samples along that axis, (h, w) image.
"""

import torch
from torch import Tensor

# Relative to a value, what a few roundings of it in single precision come to.
_ROUNDING = 8 * torch.finfo(torch.float32).eps


def bilinear_weights(
    start: Tensor,
    length: Tensor,
    grid: Tensor,
    stride: Tensor,
    output: int,
    extent: float,
    span: tuple[float, float] | None = None,
) -> Tensor:
    """Bilinear interpolation along one axis, from windows of grid cells to evenly spaced output samples.

    Output sample o sits in the middle of the o-th of O equal parts of the span. Between the centres of the outermost
    cells of the *grid* and its border the outermost cell goes on; outside a *window* the map is zero. Cells that lie
    wholly beyond `extent` are padding, and have no weight.

    Args:
        start: (R,) int64, first cell of each window.
        length: (R,) int64, cells of each window.
        grid: (R,) int64, cells of the whole grid along this axis.
        stride: (R,) float, model-input pixels per cell.
        output: O, number of output samples.
        extent: length of the image along this axis, in model-input pixels.
        span: first and last model-input pixel that the output samples cover; default the whole image.

    Returns:
        (R, O, L) weights, L the longest window; multiply with a window to interpolate it.
    """
    longest = int(length.max()) if length.numel() else 0
    low, high = span or (0.0, extent)
    centre = low + (torch.arange(output, device=stride.device, dtype=stride.dtype) + 0.5) * ((high - low) / output)
    position = centre / stride[:, None] - 0.5
    last = torch.minimum(grid.to(position.dtype), torch.ceil(extent / stride)) - 1.0
    position = torch.minimum(position.clamp(min=0.0), last[:, None])  # (R, O)
    offset = torch.arange(longest, device=stride.device)
    cell = start[:, None] + offset  # (R, L)
    weights = (1.0 - (position[:, :, None] - cell[:, None, :]).abs()).clamp(min=0.0)
    return weights * (offset < length[:, None])[:, None, :]


def area_weights(start: Tensor, length: Tensor, stride: Tensor, output: int, output_stride: float) -> Tensor:
    """Area averaging along one axis, from windows of grid cells to the cells of a common grid.

    Args:
        start: (R,) int64, first cell of each window.
        length: (R,) int64, cells of each window.
        stride: (R,) float, model-input pixels per cell.
        output: O, cells of the common grid.
        output_stride: model-input pixels per cell of the common grid.

    Returns:
        (R, O, L): the share of output cell o that window cell l covers, in [0, 1].
    """
    longest = int(length.max()) if length.numel() else 0
    offset = torch.arange(longest, device=stride.device)
    left = (start[:, None] + offset) * stride[:, None]  # (R, L)
    out_left = torch.arange(output, device=stride.device, dtype=stride.dtype) * output_stride
    overlap = torch.minimum(left[:, None, :] + stride[:, None, None], out_left[:, None] + output_stride)
    overlap = (overlap - torch.maximum(left[:, None, :], out_left[:, None])).clamp(min=0.0) / output_stride
    return overlap * (offset < length[:, None])[:, None, :]


def resample(windows: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Applies the weights of both axes to padded windows.

    Args:
        windows: (R, L_y, L_x) maps, zero behind each window.
        rows: (R, O_y, L_y) weights along y.
        columns: (R, O_x, L_x) weights along x.

    Returns:
        (R, O_y, O_x).
    """
    return torch.bmm(torch.bmm(rows, windows), columns.transpose(1, 2))


def min_max_normalise(maps: Tensor) -> Tensor:
    """Brings each map to [0, 1]; a map without contrast (all zero, or constant but for rounding) becomes zero.

    Args:
        maps: (R, h, w).

    Returns:
        (R, h, w), a new tensor.
    """
    if maps.numel() == 0:
        return maps.clone()
    lowest, highest = (extreme((1, 2), keepdim=True) for extreme in (maps.amin, maps.amax))
    spread = highest - lowest
    # Interpolated between equal cells, pixels may differ in their last bits: that is no contrast to be stretched.
    uneven = spread > _ROUNDING * torch.maximum(lowest.abs(), highest.abs())
    return torch.where(uneven, (maps - lowest) / torch.where(uneven, spread, 1.0), 0.0)


def centres_inside(low: Tensor, high: Tensor, stride: Tensor, grid: int) -> Tensor:
    """Along one axis, the cells whose centre lies between two sides; where none does, the cell nearest to the middle.

    Args:
        low: (R,) lower sides in model-input pixels.
        high: (R,) upper sides.
        stride: () model-input pixels per cell.
        grid: cells along the axis.

    Returns:
        (R, grid) bool, at least one cell each.
    """
    cells = torch.arange(grid, device=low.device)
    centre = (cells + 0.5) * stride
    inside = (centre >= low[:, None]) & (centre <= high[:, None])
    middle = ((low + high) / 2 / stride).floor().clamp(0, grid - 1)
    return torch.where(inside.any(1, keepdim=True), inside, cells == middle[:, None])
