"""Gradients of dense heads with respect to the features, a chunk of detections at a time: in windows, or on grids.

Shape letters: D detections, n of them in a chunk, K attributes, O outputs of a branch, V directions (attributes, or
outputs that several attributes share), C channels, (h, w) cells of a chunk's windows, (H, W) of the grid, S x S what an
output convolution sees.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...modeling.dense import TracedDenseHead
from ...modeling.dense_layers import Branch, Layer
from ...ops.receptive_field import Scratch, WindowedConvolution, cell_table, window_cells
from ...structures import DetectionTrace
from .dense_chunk import DenseChunk, Place

# Channels of windows that are taken back together: more don't fit the caches, fewer make matrix products too small.
CHANNELS = 128 * 256
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

    def chunk(self, place: Place, features: Tensor, branches: Sequence[tuple[Branch, Directions]]) -> DenseChunk:
        """Gradients of n detections on the (N, C, H, W) features of their level."""
        parts = [(d.mix[place.detections], self.of_branch(branch, place, d)) for branch, d in branches]
        return DenseChunk(place, features, *self.window(place)[:2], parts)

    def of_branch(self, branch: Branch, place: Place, directions: Directions) -> Tensor:
        """(h, w, n, V, C): gradients of a branch's directions on the features."""
        if directions.outputs.shape[1] == 0:
            nothing = (*self.window(place)[2], len(place.detections), 0, self.channels(place.level))
            return self.trace.references.new_zeros(nothing)
        return self.back(branch, place, self.top(branch, place, directions))

    def top(self, branch: Branch, place: Place, directions: Directions) -> Tensor:
        """(S, S, n, V, C_top): gradients of a branch's directions, of which there are some, on its last layer."""
        classes = self.trace.classes[place.detections]
        top = self.trace.references.new_zeros(())
        for number, share in zip(branch.outputs, directions.outputs[place.detections].unbind(2), strict=True):
            output = self.head.outputs[number]
            weight = self.weight(output.conv)[output.channels(place.anchors, classes)].permute(2, 3, 0, 1)
            top = top + share[:, :, None] * weight[:, :, :, None]
        return top


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
            for number, layer in reversed(list(enumerate(branch.layers))):
                around = self.cells_around(place[part], gradient.shape[0])
                derivative = self.derivative(layer, place.level, *around)[:, :, :, None]
                masked = torch.mul(gradient, derivative, out=self.scratch("masked", *gradient.shape))
                self.passes(number, part, masked, *around)
                stepped = self._convolution(layer).step_back(masked.flatten(2, 3), self.scratch)
                gradient = stepped.unflatten(2, (len(part), -1))
            inner[:, :, part[0] : part[-1] + 1] = gradient
        return back

    def passes(self, layer: int, part: Tensor, gradient: Tensor, cells: Tensor, index: Tensor) -> None:
        """Told of what has passed a layer's ReLU and norm at frozen statistics, for subclasses; keeps nothing.

        Args:
            layer: number of the layer.
            part: (m,) int64 the detections, among those of the chunk.
            gradient: (side, side, m, V, C) in memory that is used again.
            cells: see :meth:`cells_around`.
            index: see :meth:`cells_around`.
        """

    def cells_around(self, place: Place, side: int) -> tuple[Tensor, Tensor]:
        """Cells, and (side, side, n) which of them lie where around the anchors; see :func:`window_cells`."""
        corner = (place.y - side // 2, place.x - side // 2)
        return window_cells(place.image_index, *corner, (side, side), self.grid(place.level))

    def derivative(self, layer: Layer, level: int, cells: Tensor, index: Tensor) -> Tensor:
        """(side, side, n, C): what the layer's norm and ReLU multiply by at some cells; zero beyond the grid."""
        masks, scale = layer.masks[level], layer.scale(level)
        table = cell_table(masks, cells)
        if scale is not None:
            table[:-1] *= scale.expand(len(masks), -1)[cells // masks[0, 0].numel()]
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
