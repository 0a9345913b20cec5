"""How much of a map's heat lies in some part of the image, without bringing the map there where that is possible.

Shares are of maps as :meth:`HeatMaps.to_image` gives them, normalised. A pixel's heat is a weighted sum of cells; so is
the heat in a part of the image, whose weights of cells are the same for all maps on one grid. That holds where no map
has to be cut at zero or moved to begin there; others are brought to the image.

Shape letters: R detections, r of them, n windows, (h, w) the image, (H, W) the grid of a feature level.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..evaluation.metrics.localization import inside_boxes
from ..ops.maps import bilinear_weights
from ..structures import HeatMaps

# Maps are looked at some at a time: this many pixels or cells, as doubles.
_AT_ONCE = 2**22


class PixelPart:
    """A weight in [0, 1] for each pixel of an image, kept in a window.

    Args:
        size: (h, w) of the image.
        window: rows and columns of the image; all other weights are 0.
        weights: of the pixels in the window.
    """

    def __init__(self, size: tuple[int, int], window: tuple[slice, slice], weights: Tensor):
        self.size, self.window, self.weights = size, window, weights.double()
        self._cells: dict[tuple, Tensor] = {}

    @classmethod
    def of(cls, weights: Tensor) -> "PixelPart":
        """From (h, w) weights of all pixels, bool or float."""
        pixels = weights.numpy() != 0
        places = [np.flatnonzero(pixels.any(axis)) for axis in (1, 0)]
        rows, columns = (slice(int(p[0]), int(p[-1]) + 1) if len(p) else slice(0, 0) for p in places)
        return cls((weights.shape[0], weights.shape[1]), (rows, columns), weights[rows, columns])

    @property
    def area(self) -> float:
        """The sum of the weights, in pixels."""
        return float(self.weights.sum())

    def divided_by(self, image: Tensor) -> "PixelPart":
        """The weights divided by an (h, w) image that is not 0 in the window."""
        return PixelPart(self.size, self.window, self.weights / image[self.window])

    def times(self, other: "PixelPart") -> "PixelPart | None":
        """The product of the weights; None where there is no pixel that both have."""
        pairs = zip(self.window, other.window, strict=True)
        rows, columns = (slice(max(one.start, two.start), min(one.stop, two.stop)) for one, two in pairs)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return None
        return PixelPart(self.size, (rows, columns), self._at(rows, columns) * other._at(rows, columns))

    def _at(self, rows: slice, columns: slice) -> Tensor:
        top, left = self.window[0].start, self.window[1].start
        return self.weights[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]

    def cells(self, level: tuple, image_size: tuple[int, int]) -> Tensor:
        """(H, W) float64: what a cell of a level counts for the heat in this part."""
        key = (level, image_size)
        if key not in self._cells:
            rows, columns = _axes(level, image_size, self.size)
            self._cells[key] = rows[self.window[0]].T @ self.weights @ columns[self.window[1]]
        return self._cells[key]


class HeatShares(Protocol):
    """The heat of r maps as shares of the whole of each, NaN for a map of all zeros."""

    def of(self, part: PixelPart) -> np.ndarray:
        """(r,) float64, in a part of the image."""
        ...

    def inside(self, boxes: Tensor) -> np.ndarray:
        """(r,) float64, each in a box of its own, (r, 4) XYXY in pixels of the image."""
        ...


def heat_shares(
    heatmaps: HeatMaps, attribute: str, size: tuple[int, int], exact: bool = False
) -> Iterator[tuple[np.ndarray, HeatShares]]:
    """The shares of R maps, some at a time.

    Args:
        heatmaps: R maps.
        attribute: which of them.
        size: (h, w) of the image.
        exact: bring all maps to the image.

    Yields:
        (r,) int64, which of the maps, and their shares; each map once.
    """
    everything = torch.arange(len(heatmaps))
    if attribute not in heatmaps.attributes:  # put together from several
        exact = True
    for rows in everything.split(max(1, _AT_ONCE // _largest_grid(heatmaps))):
        chosen = heatmaps[rows.to(heatmaps.device)].to("cpu")
        on_cells = torch.zeros(len(rows), dtype=torch.bool)
        if not exact:
            on_cells = _begin_at_zero(chosen, attribute)
        if bool(on_cells.any()):
            yield rows[on_cells].numpy(), _CellShares(chosen[on_cells], attribute, size)
        others = (~on_cells).nonzero()[:, 0]
        for some in others.split(max(1, _AT_ONCE // (size[0] * size[1]))) if len(others) else ():
            yield rows[some].numpy(), _PixelShares(chosen[some], attribute, size)


class _PixelShares:
    """Of maps in the image, the plain way."""

    def __init__(self, heatmaps: HeatMaps, attribute: str, size: tuple[int, int]):
        heat = heatmaps.to_image(attribute, size=size).double()
        self._heat = heat / heat.sum((1, 2), keepdim=True)

    def of(self, part: PixelPart) -> np.ndarray:
        return (self._heat[:, part.window[0], part.window[1]] * part.weights).sum((1, 2)).numpy()

    def inside(self, boxes: Tensor) -> np.ndarray:
        rows, columns = _sides(boxes, *self._heat.shape[1:])
        return (rows[:, None] @ self._heat @ columns[:, :, None])[:, 0, 0].numpy()


class _CellShares:
    """Of maps on their cells, whose pixels are sums of these and begin at zero."""

    def __init__(self, heatmaps: HeatMaps, attribute: str, size: tuple[int, int]):
        self._count, self._size, self._image_size = len(heatmaps), size, heatmaps.image_size
        self._levels = list(_on_levels(heatmaps, attribute))
        ones = [torch.ones(length, dtype=torch.float64) for length in size]
        self._total = torch.zeros(self._count, dtype=torch.float64)
        for level, owners, maps in self._levels:
            rows, columns = (one @ axis for one, axis in zip(ones, _axes(level, self._image_size, size)))
            self._total.index_add_(0, owners, maps @ columns @ rows)

    def of(self, part: PixelPart) -> np.ndarray:
        total = torch.zeros_like(self._total)
        for level, owners, maps in self._levels:
            total.index_add_(0, owners, maps.flatten(1) @ part.cells(level, self._image_size).flatten())
        return (total / self._total).numpy()

    def inside(self, boxes: Tensor) -> np.ndarray:
        total = torch.zeros_like(self._total)
        sides = _sides(boxes, *self._size)
        for level, owners, maps in self._levels:
            rows, columns = (side @ one for side, one in zip(sides, _axes(level, self._image_size, self._size)))
            total.index_add_(0, owners, (rows[owners][:, None] @ maps @ columns[owners][:, :, None])[:, 0, 0])
        return (total / self._total).numpy()


def _on_levels(heatmaps: HeatMaps, attribute: str) -> Iterator[tuple[tuple, Tensor, Tensor]]:
    """Of each level its grid and strides, the (n,) owners of its windows, and these as (n, H, W) double maps."""
    keys = [(*grid, *stride) for grid, stride in zip(heatmaps.grids.tolist(), heatmaps.strides.tolist())]
    ends = (heatmaps.windows[:, 2] * heatmaps.windows[:, 3]).cumsum(0).tolist()
    values = heatmaps.values[heatmaps.attributes.index(attribute)].detach().double()
    for level in dict.fromkeys(keys):
        chosen = [number for number, key in enumerate(keys) if key == level]
        maps = torch.zeros(len(chosen), level[0], level[1], dtype=torch.float64)
        for one, number in zip(maps, chosen):
            top, left, height, width = heatmaps.windows[number].tolist()
            cells = values[ends[number] - height * width : ends[number]]
            one[top : top + height, left : left + width] = cells.view(height, width)
        yield level, heatmaps.owners[chosen], maps


def _begin_at_zero(heatmaps: HeatMaps, attribute: str) -> Tensor:
    """(R,) bool, whether no cell is negative, and the cells that make up a corner pixel of the image are zero.

    Such maps are zero somewhere, and normalising them is no more than dividing.
    """
    away = torch.ones(len(heatmaps), 4, dtype=torch.bool)
    positive = torch.ones(len(heatmaps), dtype=torch.bool)
    for level, owners, maps in _on_levels(heatmaps, attribute):
        last = [
            min(level[axis], -int(-heatmaps.image_size[axis] // level[axis + 2])) for axis in (0, 1)
        ]  # cells that aren't padding
        rows, columns = ((slice(0, 2), slice(max(end - 2, 0), end)) for end in last)
        corners = torch.stack([maps[:, y, x].abs().amax((1, 2)) for y in rows for x in columns], 1)
        for number, owner in enumerate(owners.tolist()):
            away[owner] &= corners[number] == 0
            positive[owner] &= bool((maps[number] >= 0).all())
    return away.any(1) & positive


def _sides(boxes: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """(r, h) and (r, w) float64, 1 for the rows and columns of pixels in each box."""
    x1, y1, x2, y2 = boxes.cpu().unbind(1)
    zero, one = torch.zeros_like(x1), torch.ones_like(x1)
    # Of an image that is one pixel wide, or high.
    rows = inside_boxes(torch.stack([zero, y1, one, y2], 1), height, 1)[:, :, 0]
    columns = inside_boxes(torch.stack([x1, zero, x2, one], 1), 1, width)[:, 0, :]
    return rows.double(), columns.double()


def _axes(level: tuple, image_size: tuple[int, int], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(h, H) and (w, W) float64, what cells count for pixels along both axes."""
    return tuple(_axis(level[k], level[k + 2], image_size[k], size[k]) for k in (0, 1))  # type: ignore[return-value]


@lru_cache(maxsize=32)
def _axis(cells: int, stride: float, extent: int, pixels: int) -> Tensor:
    start, count = torch.zeros(1, dtype=torch.int64), torch.tensor([cells])
    return bilinear_weights(start, count, count, torch.tensor([stride]), pixels, float(extent))[0].double()


def _largest_grid(heatmaps: HeatMaps) -> int:
    return int(heatmaps.grids.prod(1).max()) if len(heatmaps) else 1
