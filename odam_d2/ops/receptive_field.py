"""Gradients through a short stack of convolutions, in the few cells that one output sees.

An output of a dense head at cell (y, x) depends on a window of features that grows by a cell with every 3 x 3
convolution. Walking back from it, only that window need be computed, for all outputs at once.

Shape letters: n windows, N images, C channels, (H, W) the grid, (h, w) or S x S the cells of a window, U cells that
any of the windows holds. Windows lie cell by cell, with n and C behind: (h, w, n, C).
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

# Where polynomials are evaluated, beside infinity, the first ones first. Among small numbers these keep rounding least:
# in float32 about 1e-6 of the largest value, against 2e-7 when every product is formed.
_POINTS = (0.0, -1.0, 0.5, 2.0, -2.0, 1.0)
# Cells of one polynomial. More would save products and round worse.
_TILE = 3


def window_cells(
    image_index: Tensor, top: Tensor, left: Tensor, size: tuple[int, int], grid: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """The cells of n windows of one size, each cell once.

    Args:
        image_index: (n,) int64, the image of each window.
        top: (n,) int64, the row that each window begins at; may lie beyond the grid.
        left: (n,) int64, its column.
        size: (h, w) of all windows.
        grid: (H, W).

    Returns:
        (U,) int64 ascending, the cells on the grid, numbered through the rows of all images; and (h, w, n) int64,
        which of them each window holds, U beyond the grid.
    """
    rows = torch.arange(size[0], device=top.device)[:, None, None] + top
    columns = torch.arange(size[1], device=top.device)[:, None] + left
    inside = ((rows >= 0) & (rows < grid[0])) & ((columns >= 0) & (columns < grid[1]))
    numbers = (image_index * grid[0] + rows) * grid[1] + columns
    cells, which = torch.unique(numbers[inside], return_inverse=True)
    index = numbers.new_full(numbers.shape, len(cells))
    index[inside] = which
    return cells, index


def cell_table(maps: Tensor, cells: Tensor) -> Tensor:
    """The values of (N, C, H, W) maps at (U,) cells, and zeros for what lies beyond the grid: (U + 1, C).

    In single precision at least.
    """
    per_image = maps[0, 0].numel()
    picked = maps.flatten(2)[cells // per_image, :, cells % per_image]
    return F.pad(picked.to(torch.promote_types(maps.dtype, torch.float32)), (0, 0, 0, 1))


def transposed_convolution(gradient: Tensor, weight: Tensor) -> Tensor:
    """What :meth:`WindowedConvolution.step_back` computes, by torch: as slow, and as often differentiable, as that is.

    Args:
        gradient: (S, S, m, C_out).
        weight: (C_out, C_in, k, k).

    Returns:
        (S + k - 1, S + k - 1, m, C_in).
    """
    return F.conv_transpose2d(gradient.permute(2, 3, 0, 1), weight).permute(2, 3, 0, 1)


class Scratch:
    """Memory that is used over and over: fresh pages cost about as much as what is computed in them.

    Args:
        like: a tensor of the device and type to use.
    """

    def __init__(self, like: Tensor):
        self.empty = like.new_empty(0)
        self.kept: dict[str, Tensor] = {}

    def __call__(self, role: str, *shape: int) -> Tensor:
        """A tensor with anything in it; the one asked for in the same role before is lost."""
        count = math.prod(shape)
        if self.kept.get(role, self.empty).numel() < count:
            self.kept[role] = self.empty.new_empty(count)
        return self.kept.get(role, self.empty)[:count].view(shape)


class WindowedConvolution:
    """The transpose of a convolution of stride 1 on windows: from its output's gradient to its input's.

    Along each axis the transpose multiplies polynomials, whose coefficients are the cells of the window and the taps
    of the kernel. With three taps the window is cut into tiles of at most five cells; each product is then taken at
    seven points in place of its fifteen pairs (Toom and Cook's way, which Winograd's convolutions use), 49 in place of
    225 in the plane. Other kernels are transposed by torch.

    Args:
        weight: (C_out, C_in, k, k), k odd.
    """

    def __init__(self, weight: Tensor):
        self.weight = weight
        self.side = weight.shape[-1]
        self._values: dict[int, Tensor] = {}

    def values(self, points: int) -> Tensor:
        """(points, points, C_out, C_in): the kernel's values, infinity first along both axes; kernels of three taps."""
        if points not in self._values:
            taps = _evaluation(points, 3).to(self.weight)
            pairs = torch.einsum("pa,qb->pqab", taps, taps).reshape(-1, 9)
            found = pairs @ self.weight.permute(2, 3, 0, 1).reshape(9, -1)
            self._values[points] = found.view(points, points, *self.weight.shape[:2])
        return self._values[points]

    def step_back(self, gradient: Tensor, scratch: Scratch | None = None) -> Tensor:
        """From the gradient on the convolution's output to that on its input.

        Args:
            gradient: (S, S, m, C_out) on m windows of the output, zero beyond the grid.
            scratch: memory to use over and over; what is returned then lies in it, until the next call.

        Returns:
            (S + k - 1, S + k - 1, m, C_in) on windows of the input around the same cells. Cells beyond the grid hold
            what zero padding would have seen; the next derivative, or the features' own zeros, must cancel them.
        """
        if self.side != 3:
            return transposed_convolution(gradient, self.weight)
        scratch = scratch or Scratch(gradient)
        size, _, num, channels = gradient.shape
        points, evaluate, interpolate = _tiles(size)
        evaluate, interpolate = evaluate.to(gradient), interpolate.to(gradient)
        total, inputs, kernel = len(points), self.weight.shape[1], self.values(points[-1] + 1)
        rows = scratch("rows", total, size * num * channels)
        torch.mm(evaluate, gradient.reshape(size, size * num * channels), out=rows)
        values = scratch("values", total, total, num * channels)
        torch.matmul(evaluate, rows.view(total, size, num * channels), out=values)
        products = scratch("products", total, total, num * inputs)
        same = {p: slice(points.index(p), points.index(p) + points.count(p)) for p in points}
        for row, point in enumerate(points):
            for other, columns in same.items():
                left, right = values[row, columns].view(-1, channels), kernel[point, other]
                torch.mm(left, right, out=products[row, columns].view(-1, inputs))
        rows = scratch("rows", total, size + 2, num * inputs)
        torch.matmul(interpolate, products, out=rows)
        back = scratch("back", size + 2, (size + 2) * num * inputs)
        torch.mm(interpolate, rows.view(total, (size + 2) * num * inputs), out=back)
        return back.view(size + 2, size + 2, num, inputs)


def _evaluation(points: int, size: int) -> Tensor:
    """(points, size) float64: values of a polynomial's `size` coefficients, at infinity (the last one) first."""
    infinity = F.one_hot(torch.tensor([size - 1]), size).double()
    finite = torch.tensor(_POINTS[: points - 1], dtype=torch.float64)
    return torch.cat([infinity, finite[:, None] ** torch.arange(size)])


@lru_cache
def _tiles(size: int) -> tuple[list[int], Tensor, Tensor]:
    """How an axis of `size` cells is multiplied by a kernel of three taps.

    Returns:
        T numbers of points, not falling, 0 for infinity; (T, size) from the cells to values at them; (size + 2, T) from
        the products' values to their coefficients, tiles added where they overlap.
    """
    count = -(-size // _TILE)
    points: list[int] = []
    evaluate, interpolate, start = [], [], 0
    for tile in range(count):
        cells = size // count + (tile < size % count)
        terms = cells + 2
        evaluate.append(F.pad(_evaluation(terms, cells), (start, size - start - cells)))
        inverse = torch.linalg.inv(_evaluation(terms, terms))
        interpolate.append(F.pad(inverse, (0, 0, start, size - start - cells)))
        points += range(terms)
        start += cells
    order = sorted(range(len(points)), key=points.__getitem__)
    return [points[k] for k in order], torch.cat(evaluate)[order], torch.cat(interpolate, 1)[:, order]
