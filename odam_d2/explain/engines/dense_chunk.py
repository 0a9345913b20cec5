"""Gradients of some detections of one level of a dense head, and what is made of them.

Shape letters: n detections, K attributes, V directions (attributes, or outputs that several attributes share),
C channels, (h, w) cells of the windows, (H, W) of the grid, T cells of all windows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...ops.receptive_field import cell_table, window_cells
from ...ops.smoothing import gaussian_weights


@dataclass
class Place:
    """Where n detections of one level sit.

    Attributes:
        level: number of the level.
        detections: (n,) int64, rows of the trace.
        image_index: (n,) int64.
        y: (n,) int64, row of the anchor's cell.
        x: (n,) int64, its column.
        anchors: (n,) int64, number among the cell's anchors.
    """

    level: int
    detections: Tensor
    image_index: Tensor
    y: Tensor
    x: Tensor
    anchors: Tensor

    def __getitem__(self, part: Tensor) -> Place:
        """Some of the detections."""
        return Place(
            self.level, self.detections[part], self.image_index[part], self.y[part], self.x[part], self.anchors[part]
        )


@dataclass
class DenseChunk:
    """Gradients of n detections of one level in windows of one size, by branch and direction.

    Attributes:
        place: where the detections sit.
        features: (N, C, H, W) of the level.
        top: (n,) int64, first row of each window; may lie beyond the grid.
        left: (n,) int64, its first column.
        parts: for each branch (n, K, V), d attribute / d direction, and (h, w, n, V, C).
        windows: (n, 4) int64, top, left, height, width: the windows, cut at the grid's border.
    """

    place: Place
    features: Tensor
    top: Tensor
    left: Tensor
    parts: list[tuple[Tensor, Tensor]]
    windows: Tensor = field(init=False)

    def __post_init__(self):
        height, width = self.parts[0][1].shape[:2]
        grid = tuple(self.features.shape[-2:])
        self._cells, self._index = window_cells(self.place.image_index, self.top, self.left, (height, width), grid)
        low = torch.stack([self.top, self.left], 1)
        high = torch.minimum(low + low.new_tensor([height, width]), low.new_tensor(grid))
        low = low.clamp(min=0)
        self.windows = torch.cat([low, high - low], 1)

    def __len__(self) -> int:
        return len(self.top)

    def formed(self, rows: Tensor) -> DenseChunk:
        """Some of the detections, with their gradients formed in memory."""
        if len(rows) == len(self):
            return self
        parts = [(mix[rows], gradient[:, :, rows]) for mix, gradient in self.parts]
        return DenseChunk(self.place[rows], self.features, self.top[rows], self.left[rows], parts)

    def floats(self) -> int:
        """How many floats the gradients of one detection take once they are formed, beyond what is there."""
        return 0

    @property
    def inside(self) -> Tensor:
        """(n, h, w) bool: which cells lie on the grid."""
        return (self._index < len(self._cells)).permute(2, 0, 1)

    def smoothed(self, sigma: Tensor) -> DenseChunk:
        """The chunk after Phi, in wider windows; sigma (n, 2) cells along y, x."""
        margin = int(torch.ceil(3.0 * sigma.max()))
        (height, width), on_grid = self.parts[0][1].shape[:2], self.inside.permute(1, 2, 0)[..., None, None]
        along_y = gaussian_weights(sigma[:, 0], height, height + 2 * margin, margin)
        along_x = gaussian_weights(sigma[:, 1], width, width + 2 * margin, margin)
        parts = [
            (mix, torch.einsum("yxnvc,nyt,nxu->tunvc", gradient * on_grid, along_y, along_x))
            for mix, gradient in self.parts
        ]
        return DenseChunk(self.place, self.features, self.top - margin, self.left - margin, parts)

    def gradient_times_features(self) -> Tensor:
        """(K, T): signed maps, one window after the other; the attributes' own gradients are never formed."""
        activations = cell_table(self.features, self._cells)[self._index]
        maps = activations.new_zeros(())
        for mix, gradient in self.parts:
            products = torch.matmul(gradient, activations[..., None])[..., 0]
            maps = maps + torch.einsum("nkv,yxnv->knyx", mix, products)
        return maps[:, self.inside]

    def gradients(self) -> Tensor:
        """(n, K, C, h, w) from each cut window's top left cell; zero beyond its end."""
        total = self.features.new_zeros(())
        for mix, gradient in self.parts:
            total = total + torch.einsum("nkv,yxnvc->yxnkc", mix, gradient)
        size = self.windows[:, 2:].amax(0).tolist()
        rows, columns = (torch.arange(n, device=self.top.device)[:, None] for n in size)
        within = (rows < self.windows[:, 2])[:, None] & (columns < self.windows[:, 3])
        rows, columns = rows + self.windows[:, 0] - self.top, columns + self.windows[:, 1] - self.left
        rows, columns = (k.clamp(max=n - 1) for k, n in zip((rows, columns), total.shape, strict=False))
        moved = total[rows[:, None], columns, torch.arange(len(self.top), device=self.top.device)]
        return (moved * within[..., None, None]).permute(2, 3, 4, 0, 1)
