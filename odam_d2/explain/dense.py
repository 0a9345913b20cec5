"""The fast engine of dense heads: gradients in the window of features that one anchor's outputs see.

An output of RetinaNet or FCOS sees (2k + 3)^2 cells through k + 1 convolutions of 3 x 3. Its gradient starts as the
output convolution's own weights and grows by a cell with each layer that it is taken back through; the ReLU masks on
the way are those of the detector's own forward pass. Exact without norms and with batch norm; group norm is taken at
its frozen statistics.

Shape letters: D detections, n of them in a chunk, K attributes, O outputs of an anchor, C channels, r a radius.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from ..ops.cam import gradient_times_features
from ..ops.receptive_field import crop_windows, step_back
from ..ops.smoothing import gaussian_weights
from ..structures import DetectionTrace, HeatMaps
from .base import GradientEngine, register_engine
from .targets import target_scalars
from .windows import GradientWindows, MapWindows, assemble

# Floats of one chunk's gradient at its widest; bounds memory, whatever the number of detections.
CHUNK_FLOATS = 16_000_000


@register_engine("dense")
class DenseEngine(GradientEngine):
    """Windowed gradients through the head's convolutions; see the module's docstring."""

    def unsupported(self, trace: DetectionTrace) -> str | None:
        """Names what is not a head of plain convolutions, norms and ReLUs."""
        if self.layer is not None:
            return f"layer {self.layer!r} is not what the head reads"
        if not hasattr(trace.head, "branches"):
            return f"{type(trace.head).__name__} is no dense head"
        if trace.head.unreadable is None:
            for branch in trace.head.branches:
                if any(len(layer.masks) != len(trace.level_names) for layer in branch.layers):
                    return "the head does not run its layers once a level"
        return trace.head.unreadable

    def approximation(self, trace: DetectionTrace) -> str | None:
        """Group norm's statistics are taken as constants."""
        layers = [layer for branch in trace.head.branches for layer in branch.layers]
        if any(isinstance(layer.norm, nn.GroupNorm) for layer in layers):
            return "group norm is taken at its frozen statistics"
        return None

    def gradient_windows(
        self, trace: DetectionTrace, attributes: Sequence[str], smoothing: float
    ) -> Iterator[GradientWindows]:
        """See :meth:`GradientEngine.gradient_windows`."""
        for chunk, gradients, (y, x), wide in self._chunks(trace, attributes, smoothing):
            # From a window around the anchor to the part of it that lies on the grid.
            height, width = int(chunk.windows[:, 2].max()), int(chunk.windows[:, 3].max())
            rows = chunk.windows[:, 0, None] - (y[:, None] - wide) + torch.arange(height, device=y.device)
            columns = chunk.windows[:, 1, None] - (x[:, None] - wide) + torch.arange(width, device=x.device)
            inside = (rows <= 2 * wide)[:, :, None] & (columns <= 2 * wide)[:, None, :]
            inside &= _on_grid(y, x, torch.tensor([chunk.grid], device=y.device), wide)[
                torch.arange(len(y), device=y.device)[:, None, None],
                rows.clamp(max=2 * wide)[:, :, None],
                columns.clamp(max=2 * wide)[:, None, :],
            ]
            across = rows.clamp(max=2 * wide)[:, None, None, :, None].expand(*gradients.shape[:3], -1, 2 * wide + 1)
            gradients = gradients.gather(3, across)
            along = columns.clamp(max=2 * wide)[:, None, None, None, :].expand(*gradients.shape[:4], -1)
            chunk.gradients = gradients.gather(4, along) * inside[:, None, None]
            yield chunk

    def odam_maps(self, trace: DetectionTrace, attributes: Sequence[str], smoothing: float) -> list[HeatMaps]:
        """See :meth:`GradientEngine.odam_maps`."""
        parts, cells, level = [], torch.zeros(0), None
        for chunk, gradients, (y, x), wide in self._chunks(trace, attributes, smoothing):
            if chunk.features is not level:
                level = chunk.features
                cells = level.permute(0, 2, 3, 1).contiguous()
            activations = crop_windows(cells, chunk.image_index, y, x, wide)
            maps = gradient_times_features(gradients, activations[:, None])
            values = maps.transpose(0, 1)[:, _on_grid(y, x, torch.tensor([chunk.grid], device=y.device), wide)]
            parts.append(
                MapWindows(chunk.detections, 0, chunk.windows, chunk.grid, chunk.strides, values, chunk.adds_up)
            )
        return assemble(trace, parts, attributes)

    def _chunks(
        self, trace: DetectionTrace, attributes: Sequence[str], smoothing: float
    ) -> Iterator[tuple[GradientWindows, Tensor, tuple[Tensor, Tensor], int]]:
        """Some detections of one level at a time.

        Yields:
            A chunk whose `gradients` are still to come; (n, K, C, 2r + 1, 2r + 1) gradients in windows around the
            anchors' cells, which may reach beyond the grid; the (n,) rows and columns of these cells; r.
        """
        head = trace.head
        jacobian = self._jacobian(trace, attributes)
        y, x, anchors = head.cells(trace)
        radius = max(_radius(head, branch) for branch in head.branches)
        for level, name in enumerate(trace.level_names):
            members = (trace.level_index[:, 0] == level).nonzero()[:, 0]
            if len(members) == 0:
                continue
            features, strides = trace.features[name], trace.references.new_tensor([trace.strides[name]] * 2)
            sigma = smoothing * (trace.boxes[members, 2:] - trace.boxes[members, :2]).flip(1) / strides  # cells
            margin = int(torch.ceil(3.0 * sigma.max()))
            wide = radius + margin
            grid = torch.tensor([features.shape[-2:]], device=y.device)
            size = max(1, CHUNK_FLOATS // (features.shape[1] * len(attributes) * (2 * wide + 1) ** 2))
            for part in torch.arange(len(members), device=y.device).split(size):
                chosen = members[part]
                place = (trace.image_index[chosen], y[chosen], x[chosen])
                gradients = self._gradients(trace, level, chosen, place, anchors[chosen], jacobian[chosen], radius)
                if margin:
                    inside = _on_grid(y[chosen], x[chosen], grid, radius)
                    gradients = _smooth(gradients * inside[:, None, None], sigma[part], margin)
                centre = torch.stack(place[1:], 1)
                low, high = (centre - wide).clamp(min=0), torch.minimum(centre + wide + 1, grid)
                chunk = GradientWindows(
                    chosen, 0, features, place[0], torch.cat([low, high - low], 1), strides,
                    features.new_zeros(0), [False] * len(attributes),
                )  # fmt: skip
                yield chunk, gradients, place[1:], wide

    @staticmethod
    def _jacobian(trace: DetectionTrace, attributes: Sequence[str]) -> Tensor:
        """(D, K, O): how each attribute depends on the outputs of the detection's anchor."""
        with torch.enable_grad():
            outputs = trace.head.gather(trace.head.maps, trace).detach().requires_grad_()
            targets = target_scalars(trace.head.decode(outputs, trace), attributes)
            gradients = [
                torch.autograd.grad(target.sum(), outputs, retain_graph=True, materialize_grads=True)[0]
                for target in targets
            ]
        return torch.stack(gradients, 1)

    @staticmethod
    @torch.no_grad()
    def _gradients(
        trace: DetectionTrace,
        level: int,
        chosen: Tensor,
        place: tuple[Tensor, Tensor, Tensor],
        anchors: Tensor,
        jacobian: Tensor,
        radius: int,
    ) -> Tensor:
        """(n, K, C, 2r + 1, 2r + 1): gradients of K attributes on the features around n anchors of one level."""
        head, image = trace.head, place[0]
        channels = trace.features[trace.level_names[level]].shape[1]
        total = jacobian.new_zeros(*jacobian.shape[:2], channels, 2 * radius + 1, 2 * radius + 1)
        for branch in head.branches:
            wanted = jacobian[:, :, branch.outputs].abs().sum((0, 2)).nonzero()[:, 0]
            if len(wanted) == 0:
                continue
            gradient: Tensor | float = 0.0
            for number in branch.outputs:
                output = head.outputs[number]
                weight = output.conv.weight[output.channels(anchors, trace.classes[chosen])]
                gradient = gradient + jacobian[:, wanted, number, None, None, None] * weight[:, None]
            for layer in reversed(branch.layers):
                reach = gradient.shape[-1] // 2
                derivative = crop_windows(layer.masks[level], *place, reach).to(gradient.dtype)
                scale = head.scale(layer, level)
                if scale is not None:
                    derivative = derivative * scale.expand(len(layer.masks[level]), -1)[image][:, :, None, None]
                derivative = derivative[:, None].expand_as(gradient)
                back = step_back(gradient.flatten(0, 1), derivative.flatten(0, 1), layer.conv.weight)
                gradient = back.unflatten(0, (len(chosen), len(wanted)))
            margin = radius - gradient.shape[-1] // 2
            total[:, wanted, :, margin : 2 * radius + 1 - margin, margin : 2 * radius + 1 - margin] += gradient
        return total


def _radius(head, branch) -> int:
    """How far the outputs of a branch see."""
    top = max(head.outputs[number].conv.kernel_size[0] // 2 for number in branch.outputs)
    return top + sum(layer.conv.kernel_size[0] // 2 for layer in branch.layers)


def _on_grid(y: Tensor, x: Tensor, grids: Tensor, radius: int) -> Tensor:
    """(n, 2r + 1, 2r + 1) bool: which cells of the windows around (y, x) lie on their grids."""
    reach = torch.arange(-radius, radius + 1, device=y.device)
    rows, columns = y[:, None] + reach, x[:, None] + reach
    row_inside = (rows >= 0) & (rows < grids[:, :1])
    return row_inside[:, :, None] & ((columns >= 0) & (columns < grids[:, 1:]))[:, None, :]


def _smooth(gradients: Tensor, sigma: Tensor, margin: int) -> Tensor:
    """Phi on (n, K, C, S, S) windows, wider by `margin` on each side afterwards; sigma (n, 2) along y, x in cells."""
    size = gradients.shape[-1]
    along_y, along_x = (gaussian_weights(sigma[:, k], size, size + 2 * margin, margin) for k in (0, 1))
    return torch.einsum("nkcyx,nyv,nxu->nkcvu", gradients, along_y, along_x)
