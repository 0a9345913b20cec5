"""Gradients that are partly in windows and partly, in few combinations, on the whole grid.

Shape letters: n detections, m of them in one image, K attributes, V directions, C channels, R combinations, (h, w)
cells of a window, (H, W) of the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .dense_chunk import DenseChunk
from .layer_on_grid import LayerOnGrid, transposed


@dataclass
class Spread:
    """What m detections of one image have on its whole grid: linear combinations of gradients that they share.

    Attributes:
        image: number of the image.
        members: (m,) int64, the detections, among those of the chunk.
        mix: (m, V, R) shares of `fields`.
        own: (m, V, 2 G) shares of what the lowest layer's group norm spreads; (m, V, 0) where it has another norm.
        fields: (R, C_out, H, W) gradients on the output of the convolution below.
        layer: the lowest.
    """

    image: int
    members: Tensor
    mix: Tensor
    own: Tensor
    fields: Tensor
    layer: LayerOnGrid

    def gradients(self, which: Tensor) -> Tensor:
        """(r, V, C, H, W) on the features, of some of the detections."""
        fields = torch.einsum("mvr,rchw->mvchw", self.mix[which], self.fields)
        if self.own.shape[2]:
            fields = fields + self.layer.spread(self.own[which].flatten(0, 1)).view(fields.shape)
        return transposed(fields.flatten(0, 1), self.layer.layer.conv).unflatten(0, fields.shape[:2])

    def times_features(self, features: Tensor) -> Tensor:
        """(R + 2 G, H * W): what `mix` and `own` are shares of, times (N, C, H, W) features, summed over channels."""
        return self.layer.times_features(self.fields, features[self.image])


@dataclass
class CarriedChunk(DenseChunk):
    """A chunk whose gradients lie in windows and, in few combinations, on the whole grid.

    Attributes:
        spreads: for each branch, what lies on the grids of some images; its windows are in `parts`.
        windows: (n, 4) int64: all are the whole grid.
    """

    spreads: list[list[Spread]]

    def __post_init__(self):
        super().__post_init__()
        self._cut = self.windows
        self.windows = self.windows.new_tensor([0, 0, *self.grid]).expand_as(self._cut)

    @property
    def grid(self) -> tuple[int, int]:
        """(H, W)."""
        height, width = self.features.shape[-2:]
        return height, width

    def floats(self) -> int:
        """See :meth:`DenseChunk.floats`."""
        return self.features[0].numel() * sum(gradient.shape[3] for _, gradient in self.parts)

    def formed(self, rows: Tensor) -> DenseChunk:
        """See :meth:`DenseChunk.formed`; on the whole grid."""
        parts = []
        for (mix, gradient), spreads in zip(self.parts, self.spreads, strict=True):
            placed = gradient.new_zeros(*self.grid, len(rows), *gradient.shape[3:])
            for number, row in enumerate(rows.tolist()):
                top, left, height, width = self._cut[row].tolist()
                y, x = top - int(self.top[row]), left - int(self.left[row])
                window = gradient[y : y + height, x : x + width, row]
                placed[top : top + height, left : left + width, number] = window
            for spread in spreads:
                chosen, which = (rows[:, None] == spread.members).nonzero().unbind(1)
                placed[:, :, chosen] += spread.gradients(which).permute(3, 4, 0, 1, 2)
            parts.append((mix[rows], placed))
        corner = torch.zeros_like(rows)
        return DenseChunk(self.place[rows], self.features, corner, corner, parts)

    def smoothed(self, sigma: Tensor) -> DenseChunk:
        """See :meth:`DenseChunk.smoothed`."""
        return self.formed(torch.arange(len(self), device=self.top.device)).smoothed(sigma)

    def gradients(self) -> Tensor:
        """See :meth:`DenseChunk.gradients`; (n, K, C, H, W)."""
        return self.formed(torch.arange(len(self), device=self.top.device)).gradients()

    def gradient_times_features(self) -> Tensor:
        """(K, n * H * W): signed maps on the whole grid."""
        local, inside = super().gradient_times_features(), self.inside
        cells = self._cells[self._index.permute(2, 0, 1)[inside]] % (self.grid[0] * self.grid[1])
        maps = local.new_zeros(len(local), len(self), self.grid[0] * self.grid[1])
        maps[:, inside.nonzero()[:, 0], cells] = local
        for (mix, _), spreads in zip(self.parts, self.spreads, strict=True):
            for spread in spreads:
                shares = torch.einsum("mkv,mvr->kmr", mix[spread.members], torch.cat([spread.mix, spread.own], 2))
                added = shares @ spread.times_features(self.features)
                maps = maps.index_add(1, spread.members, added)
        return maps.flatten(1)
