"""Gradients of dense heads with respect to the features, a chunk of detections at a time: in windows, or on grids.

Shape letters: D detections, n of them in a chunk, K attributes, O outputs of a branch, V directions (attributes, or
outputs that several attributes share), C channels, (h, w) cells of a chunk's windows, (H, W) of the grid, S x S what an
output convolution sees.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...modeling.dense import TracedDenseHead
from ...modeling.dense_layers import Branch, Layer
from ...ops.receptive_field import Scratch, WindowedConvolution, cell_table, window_cells
from ...ops.smoothing import gaussian_weights
from ...structures import DetectionTrace

# Channels of windows that are taken back together: more don't fit the caches, fewer make matrix products too small.
CHANNELS = 64 * 256
# An autograd graph holds about this many maps for each of its gradients.
GRAPH_MAPS = 4


@dataclass
class Directions:
    """What is differentiated in a branch: V sums of its outputs, of which K attributes are linear combinations.

    Attributes:
        mix: (D, K, V), d attribute / d direction.
        outputs: (D, V, O), d direction / d output.
    """

    mix: Tensor
    outputs: Tensor

    @classmethod
    def of(cls, jacobian: Tensor) -> Directions:
        """From (D, K, O), how attributes depend on outputs, with as few directions as possible."""
        depends = jacobian.abs().sum(0)
        attributes, outputs = depends.sum(1).nonzero()[:, 0], depends.sum(0).nonzero()[:, 0]
        rows = len(jacobian)
        if len(outputs) < len(attributes):
            chosen = torch.eye(jacobian.shape[2]).to(jacobian)[outputs]
            return cls(jacobian[:, :, outputs], chosen.expand(rows, -1, -1))
        chosen = torch.eye(jacobian.shape[1]).to(jacobian)[:, attributes]
        return cls(chosen.expand(rows, -1, -1), jacobian[:, attributes])


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


class DenseGradients(ABC):
    """A way back through the layers of a head's branches.

    Args:
        trace: what the detector remembers.
    """

    def __init__(self, trace: DetectionTrace):
        self.trace = trace
        self.head = cast(TracedDenseHead, trace.head)  # the engine has checked it

    def grid(self, level: int) -> tuple[int, int]:
        """(H, W) of a level."""
        height, width = self.trace.features[self.trace.level_names[level]].shape[-2:]
        return height, width

    def channels(self, level: int) -> int:
        """C of a level."""
        return self.trace.features[self.trace.level_names[level]].shape[1]

    def weight(self, conv: nn.Conv2d) -> Tensor:
        """The weight of a convolution, as gradients use it: a constant."""
        return conv.weight.detach()

    @abstractmethod
    def window(self, place: Place) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Top and left of n windows, (n,) int64, which may lie beyond the grid, and their size (h, w)."""

    @abstractmethod
    def floats(self, level: int) -> int:
        """About how many floats one direction of one detection takes, to choose the size of chunks."""

    @abstractmethod
    def back(self, branch: Branch, place: Place, top: Tensor) -> Tensor:
        """(h, w, n, V, C) on the features' windows from (S, S, n, V, C_top) on those of the branch's last layer.

        Cells beyond the grid may hold anything.
        """

    def of_branch(self, branch: Branch, place: Place, directions: Directions) -> Tensor:
        """(h, w, n, V, C): gradients of a branch's directions on the features."""
        classes, wanted = self.trace.classes[place.detections], directions.outputs.shape[1]
        if wanted == 0:
            return self.trace.references.new_zeros(*self.window(place)[2], len(classes), 0, self.channels(place.level))
        top = self.trace.references.new_zeros(())
        for number, share in zip(branch.outputs, directions.outputs[place.detections].unbind(2), strict=True):
            output = self.head.outputs[number]
            weight = self.weight(output.conv)[output.channels(place.anchors, classes)].permute(2, 3, 0, 1)
            top = top + share[:, :, None] * weight[:, :, :, None]
        return self.back(branch, place, top)


class WindowGradients(DenseGradients):
    """In the windows that outputs see, with the ReLU masks of the forward pass; norms are fixed scales."""

    def __init__(self, trace: DetectionTrace):
        super().__init__(trace)
        self.radius = max(self.reach(branch) for branch in self.head.branches)
        self.convolutions: dict[int, WindowedConvolution] = {}
        self.scratch = Scratch(trace.references)

    def reach(self, branch: Branch) -> int:
        """How many cells the outputs of a branch see in each direction."""
        top = max(self.head.outputs[number].conv.kernel_size[0] // 2 for number in branch.outputs)
        return top + sum(layer.conv.kernel_size[0] // 2 for layer in branch.layers)

    def window(self, place: Place) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """See :meth:`DenseGradients.window`."""
        side = 2 * self.radius + 1
        return place.y - self.radius, place.x - self.radius, (side, side)

    def floats(self, level: int) -> int:
        """See :meth:`DenseGradients.floats`."""
        return self.channels(level) * (2 * self.radius + 1) ** 2

    @torch.no_grad()
    def back(self, branch: Branch, place: Place, top: Tensor) -> Tensor:
        """See :meth:`DenseGradients.back`."""
        radius, channels = self.reach(branch), self.channels(place.level)
        margin = self.radius - radius
        back = top.new_zeros(*self.window(place)[2], *top.shape[2:4], channels)
        inner = back[margin : margin + 2 * radius + 1, margin : margin + 2 * radius + 1]
        for part in torch.arange(top.shape[2], device=top.device).split(max(1, CHANNELS // top.shape[3:].numel())):
            gradient = top[:, :, part]
            for layer in reversed(branch.layers):
                derivative = self.derivative(layer, place[part], gradient.shape[0])[:, :, :, None]
                masked = torch.mul(gradient, derivative, out=self.scratch("masked", *gradient.shape))
                stepped = self._convolution(layer).step_back(masked.flatten(2, 3), self.scratch)
                gradient = stepped.unflatten(2, (len(part), -1))
            inner[:, :, part[0] : part[-1] + 1] = gradient
        return back

    def derivative(self, layer: Layer, place: Place, side: int) -> Tensor:
        """(side, side, n, C): what the layer's norm and ReLU multiply by around the anchors; zero beyond the grid."""
        masks, grid = layer.masks[place.level], self.grid(place.level)
        corner = (place.y - side // 2, place.x - side // 2)
        cells, index = window_cells(place.image_index, *corner, (side, side), grid)
        table = cell_table(masks, cells)
        scale = layer.scale(place.level)
        if scale is not None:
            table[:-1] *= scale.expand(len(masks), -1)[cells // (grid[0] * grid[1])]
        return table[index]

    def _convolution(self, layer: Layer) -> WindowedConvolution:
        if id(layer) not in self.convolutions:
            self.convolutions[id(layer)] = WindowedConvolution(layer.conv.weight.detach())
        return self.convolutions[id(layer)]


class GridGradients(DenseGradients):
    """On the whole grid, by autograd through the branch, including norms that couple its cells."""

    def __init__(self, trace: DetectionTrace):
        super().__init__(trace)
        self.graphs: dict[tuple[int, int, int], tuple[Tensor, Tensor]] = {}

    def window(self, place: Place) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """See :meth:`DenseGradients.window`."""
        corner = torch.zeros_like(place.y)
        return corner, corner, self.grid(place.level)

    def floats(self, level: int) -> int:
        """See :meth:`DenseGradients.floats`."""
        return GRAPH_MAPS * self.trace.features[self.trace.level_names[level]][0].numel()

    def back(self, branch: Branch, place: Place, top: Tensor) -> Tensor:
        """See :meth:`DenseGradients.back`."""
        (height, width), reach = self.grid(place.level), top.shape[0] // 2
        parts = []
        for image in place.image_index.unique().tolist():
            members = (place.image_index == image).nonzero()[:, 0]
            leaf, hidden = self._graph(branch, place.level, image)
            # The windows on the grid of the last layer, cut at the border.
            placed = top.new_zeros(len(members), *top.shape[3:], height + 2 * reach, width + 2 * reach)
            for number, member in enumerate(members.tolist()):
                y, x = int(place.y[member]), int(place.x[member])
                placed[number, :, :, y : y + 2 * reach + 1, x : x + 2 * reach + 1] = top[:, :, member].permute(
                    2, 3, 0, 1
                )
            placed = placed[..., reach : reach + height, reach : reach + width].flatten(0, 1)[:, None]
            (found,) = torch.autograd.grad(hidden, leaf, placed, retain_graph=True, is_grads_batched=True)
            parts.append(found[:, 0].unflatten(0, (len(members), -1)).permute(3, 4, 0, 1, 2))
        return torch.cat(parts, 2)

    def _graph(self, branch: Branch, level: int, image: int) -> tuple[Tensor, Tensor]:
        """A branch's input and last layer for one image, with the graph between; kept until the next image or level."""
        number = next(k for k, other in enumerate(self.head.branches) if other is branch)
        key = (number, level, image)
        if key not in self.graphs:
            self.graphs = {k: v for k, v in self.graphs.items() if k[1:] == key[1:]}
            with torch.enable_grad():
                leaf = self.trace.features[self.trace.level_names[level]][image : image + 1].detach().requires_grad_()
                hidden = leaf
                for layer in branch.layers:
                    hidden = F.conv2d(hidden, layer.conv.weight, layer.conv.bias, padding=layer.conv.padding)
                    hidden = F.relu(layer.normalise(hidden, level))
            self.graphs[key] = (leaf, hidden)
        return self.graphs[key]


# Ways to take group norm, whose statistics couple all cells of a grid.
GROUP_NORMS: dict[str, type[DenseGradients]] = {"frozen": WindowGradients, "exact": GridGradients}


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
