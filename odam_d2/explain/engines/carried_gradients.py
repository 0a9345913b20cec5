"""Group norm in full at the cost of little more than the windows that outputs see.

Behind a layer's ReLU the gradient of an output lies in a window. Back through group norm, each group of it loses its
mean, and the part along the normalised activations::

    dz = d - mean(d) - u mean(d u),    d = (gradient times ReLU mask) times weight / deviation,  u normalised z

means over the cells and channels of the group. The first term stays in the window. The others lie on the whole grid,
but are multiples of maps that all detections share: 1 and u on each group. From there on they go back through the
layers below as any gradient does, so that the whole is, without approximation, the window's part plus, for each norm
and group, two numbers of the detection times two gradients of the image.

What is approximated is the number of these: of all that detections of an image need on a level, the leading
combinations are taken back, as many as keep what is left out of each norm within a tolerance
(:func:`odam_d2.ops.low_rank.few_combinations`). On large grids that is none.

Shape letters: n detections of a chunk, m of them in one image, V directions, K attributes, C channels, G groups,
(h, w) cells of a window, (H, W) of the grid, R combinations.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...modeling.dense_layers import Branch, Layer
from ...ops.low_rank import few_combinations
from ...ops.receptive_field import Scratch, cell_table
from .carried_chunk import CarriedChunk, Spread
from .dense_chunk import DenseChunk, Place
from .dense_gradients import Directions, WindowGradients
from .layer_on_grid import LayerOnGrid, transposed

# What may be left out at each norm, relative to the gradient in its window: root of the mean square over an image's
# detections and directions of a level.
TOLERANCE = 0.015


class CarriedGradients(WindowGradients):
    """In windows, with what group norm spreads over the grid carried along; see the module's docstring.

    Attributes:
        tolerance: see :data:`TOLERANCE`; at 0 nothing is left out.
    """

    tolerance = TOLERANCE
    _taken: _Taken

    def chunk(self, place: Place, features: Tensor, branches: Sequence[tuple[Branch, Directions]]) -> DenseChunk:
        """See :meth:`DenseGradients.chunk`; on the whole grid where something is carried."""
        parts, spreads = [], []
        for branch, directions in branches:
            self._taken = _Taken(branch.layers, place, self.scratch)
            parts.append((directions.mix[place.detections], self.of_branch(branch, place, directions)))
            spreads.append(self._spreads(branch, place))
        corner = self.window(place)[:2]
        if any(spreads):
            return CarriedChunk(place, features, *corner, parts, spreads)
        return DenseChunk(place, features, *corner, parts)

    def passes(self, layer: int, part: Tensor, gradient: Tensor, cells: Tensor, index: Tensor) -> None:
        """See :meth:`WindowGradients.passes`; keeps what group norm takes away, and of how much."""
        if isinstance(self._taken.layers[layer].norm, nn.GroupNorm):
            self._taken.add(layer, part, gradient, cells, index)

    @torch.no_grad()
    def _spreads(self, branch: Branch, place: Place) -> list[Spread]:
        """What the branch spreads over the grids of the chunk's images; nothing where nothing is worth carrying."""
        images = place.image_index.unique().tolist() if self._taken.amounts else []
        members = [(place.image_index == image).nonzero()[:, 0] for image in images]
        found = [self._spread(branch, place.level, image, own) for image, own in zip(images, members, strict=True)]
        return [spread for spread in found if spread is not None]

    def _spread(self, branch: Branch, level: int, image: int, members: Tensor) -> Spread | None:
        """What detections of one image have on its grid; None where it is not worth carrying."""
        taken, lengths = self._taken.of(members)
        rows = next(iter(lengths.values()))
        mix, fields = rows.new_zeros(rows.numel(), 0), rows.new_zeros(0)
        for number, layer in reversed(list(enumerate(branch.layers))):
            grid = LayerOnGrid(layer, level, image)
            if len(fields):
                fields = grid.back(transposed(fields, branch.layers[number + 1].conv))
            else:
                fields = fields.new_zeros(0, *grid.mask.shape)
            if number and number in taken:
                gram = torch.block_diag(fields.flatten(1) @ fields.flatten(1).T, grid.squares().diag())
                shares = torch.cat([mix, -taken[number].flatten(0, 1)], 1)
                mix, chosen = few_combinations(shares, gram, lengths[number].flatten(), self.tolerance)
                fields = grid.combined(fields, chosen)
        # All that the lowest layer takes away costs as much as one combination of it: nothing is left out there.
        lowest = -taken[0] if 0 in taken else rows.new_zeros(*rows.shape, 0)
        if len(fields) == 0 and (0 not in taken or not self._worth(taken[0], grid.squares(), lengths[0])):
            return None
        return Spread(image, members, mix.unflatten(0, rows.shape), lowest, fields, grid)

    def _worth(self, taken: Tensor, squares: Tensor, lengths: Tensor) -> bool:
        """Whether (m, V, 2 G) amounts, taken of gradients of (m, V) lengths, are more than may be left out."""
        seen = lengths > 0
        shares = (taken.square() @ squares)[seen] / lengths[seen].square()
        return bool(shares.sum() > self.tolerance**2 * len(shares))


class _Taken:
    """What group norm takes away from the gradients of a branch's V directions, as they pass its layers.

    Attributes:
        amounts: for the number of a layer, in parts, (m, V, 2 G): means of each group, then along the activations.
        lengths: for the number of a layer, in parts, (m, V): L2 norm of what it is taken from.
    """

    def __init__(self, layers: Sequence[Layer], place: Place, scratch: Scratch):
        self.layers = layers
        self.place = place
        self.scratch = scratch
        self.amounts: dict[int, list[Tensor]] = {}
        self.lengths: dict[int, list[Tensor]] = {}

    def add(self, number: int, part: Tensor, gradient: Tensor, cells: Tensor, index: Tensor) -> None:
        """See :meth:`WindowGradients.passes`."""
        layer, level, image = self.layers[number], self.place.level, self.place.image_index[part]
        assert layer.norm is not None  # only such layers spread
        groups, given = layer.norm.num_groups, layer.inputs[level]
        products = self.scratch("products of gradients", *gradient.shape)
        total = gradient.sum((0, 1))
        along = torch.mul(gradient, cell_table(given, cells)[index][:, :, :, None], out=products).sum((0, 1))
        mean, deviation = (one[level][image][:, None] for one in (layer.means, layer.deviations))
        sums = (total, (along - mean * total) / deviation)
        amounts = torch.cat([one.unflatten(2, (groups, -1)).sum(3) for one in sums], 2)
        self.amounts.setdefault(number, []).append(amounts * (groups / given[0].numel()))
        squares = torch.mul(gradient, gradient, out=products).sum((0, 1)).sum(2)
        self.lengths.setdefault(number, []).append(squares.sqrt())

    def of(self, members: Tensor) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Amounts (m, V, 2 G) and lengths (m, V) of some detections, by layer."""
        kept = ({k: torch.cat(parts)[members] for k, parts in some.items()} for some in (self.amounts, self.lengths))
        return next(kept), next(kept)
