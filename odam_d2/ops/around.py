"""Maps in windows of a grid, seen from a cell of each: their mean around it, and factors laid around it.

Shape letters: R maps, each in a window of its own, T cells of all windows together, K attributes, (Y, X) the cells of
a table whose middle stands for each map's own cell; both are odd.
"""

import torch
from torch import Tensor


def mean_around(values: Tensor, windows: Tensor, centres: Tensor) -> Tensor:
    """The mean of R maps, laid over each other at their own cells.

    Args:
        values: (K, T), one window after the other, each row-major.
        windows: (R, 4) int64, top, left, height, width in cells.
        centres: (R, 2) int64, each map's own cell: row, column.

    Returns:
        (K, Y, X): at each place the mean over the maps whose window reaches it. It holds every window; a place that
        none reaches is zero.
    """
    offsets = _offsets(windows, centres)
    radius = offsets.abs().amax(0) if len(offsets) else offsets.new_zeros(2)
    height, width = (2 * radius + 1).tolist()
    place = (offsets[:, 0] + radius[0]) * width + offsets[:, 1] + radius[1]
    sums = values.new_zeros(len(values), height * width).index_add_(1, place, values)
    counts = torch.bincount(place, minlength=height * width).clamp(min=1)
    return (sums / counts).unflatten(1, (height, width))


def scale_around(values: Tensor, windows: Tensor, centres: Tensor, factors: Tensor) -> Tensor:
    """R maps times factors that are laid around each one's own cell.

    Args:
        values: (K, T), as for :func:`mean_around`.
        windows: (R, 4), likewise.
        centres: (R, 2), likewise.
        factors: (K, Y, X). A cell beyond them has the factor of the nearest of their places.

    Returns:
        (K, T).
    """
    offsets = _offsets(windows, centres)
    radius = offsets.new_tensor(factors.shape[1:]) // 2
    y, x = torch.maximum(torch.minimum(offsets, radius), -radius).add(radius).unbind(1)
    return values * factors[:, y, x]


def _offsets(windows: Tensor, centres: Tensor) -> Tensor:
    """(T, 2): rows and columns of each cell from its map's own cell."""
    area = windows[:, 2] * windows[:, 3]
    owner = torch.repeat_interleave(torch.arange(len(windows), device=windows.device), area)
    within = torch.arange(len(owner), device=windows.device) - (area.cumsum(0) - area)[owner]
    width = windows[owner, 3]
    cells = torch.stack([within // width, within % width], 1)
    return cells + windows[owner, :2] - centres[owner]
