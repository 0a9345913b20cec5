"""The fast engine of two-stage detectors: one backward pass an attribute, to the pooled features only.

RoIs don't see each other in the head, so the gradient of a *sum* of scalars to the pooled features holds every
instance's own gradient. RoIAlign's weights bring it to the feature map, in the window under the box.

Shape letters: D detections, K attributes, C channels, P pooled cells, (H, W) the grid, L_y x L_x a window.
"""

from collections.abc import Iterator, Sequence

import torch
from detectron2.layers import ROIAlign
from detectron2.modeling.poolers import ROIPooler
from torch import Tensor
from torch.nn import functional as F

from ..ops.cam import odam_from_pooled
from ..ops.roi_align import roi_align_weights
from ..ops.smoothing import smooth_window_weights
from ..structures import DetectionTrace, HeatMaps
from .base import GradientEngine, register_engine, split_by_image
from .targets import target_scalars

# Windows are padded to multiples of this many cells and handled together with others of that size.
WINDOW_STEP = 8
# Floats that one chunk of windows may hold; bounds memory, whatever the number of detections.
CHUNK_FLOATS = 8_000_000


@register_engine("roi")
class RoIEngine(GradientEngine):
    """Analytic maps through RoIAlign, equal to autograd's; see the module's docstring."""

    def unsupported(self, trace: DetectionTrace) -> str | None:
        """Names what is not known to be linear, separable and instance-wise."""
        if self.layer is not None:
            return f"layer {self.layer!r} does not feed the pooler directly"
        pooler = getattr(trace.head, "pooler", None)
        if pooler is None:
            return f"{type(trace.head).__name__} pools no RoIs"
        if type(pooler) is not ROIPooler:
            return f"the pooler {type(pooler).__name__} is not ROIPooler"
        for level in pooler.level_poolers:
            if type(level) is not ROIAlign:
                return f"the pooler {type(level).__name__} is not RoIAlign"
        if not trace.head.instance_wise:
            return "the box head or predictor is not known to treat each RoI on its own"
        return None

    def odam_maps(self, trace: DetectionTrace, attributes: Sequence[str], smoothing: float) -> list[HeatMaps]:
        """See :meth:`GradientEngine.odam_maps`."""
        gradients = self._pooled_gradients(trace, attributes)
        windows = trace.references.new_zeros(len(trace), 4, dtype=torch.int64)
        grids, strides = torch.zeros_like(windows[:, :2]), trace.references.new_ones(len(trace), 2)
        weights = {}
        for level, name in enumerate(trace.level_names):
            members = (trace.level_index == level).nonzero()[:, 0]
            if len(members) == 0:
                continue
            for axis in (0, 1):
                axis_weights, start, length = self._axis_weights(trace, level, members, axis, smoothing)
                weights[level, axis] = axis_weights
                windows[members, axis], windows[members, axis + 2] = start, length
                grids[members, axis] = trace.features[name].shape[axis + 2]
            strides[members] = trace.strides[name]

        area = windows[:, 2] * windows[:, 3]
        first = area.cumsum(0) - area
        values = gradients.new_zeros(len(attributes), int(area.sum()))
        for level, name in enumerate(trace.level_names):
            if (level, 0) not in weights:
                continue
            members = (trace.level_index == level).nonzero()[:, 0]
            cells = trace.features[name].permute(0, 2, 3, 1).contiguous()  # (N, H, W, C)
            for chosen, height, width in _chunks(windows[members], gradients.shape):
                rows, columns = (_fit(weights[level, axis][chosen], size) for axis, size in ((0, height), (1, width)))
                detections = members[chosen]
                inside, target = _cell_positions(windows[detections], first[detections], height, width)
                activations = _gather(cells, trace.image_index[detections], windows[detections], height, width)
                maps = odam_from_pooled(gradients[detections], rows, columns, activations)
                values[:, target] = maps.transpose(0, 1)[:, inside]
        return split_by_image(trace, values, windows, grids, strides, attributes)

    @staticmethod
    def _pooled_gradients(trace: DetectionTrace, attributes: Sequence[str]) -> Tensor:
        """(D, K, C, P, P): one backward pass an attribute, of the sum over detections."""
        with torch.enable_grad():
            pooled = trace.head.pooled.detach().requires_grad_()
            targets = target_scalars(trace.head.predict_pooled(pooled, trace), attributes)
            gradients = [
                torch.autograd.grad(target.sum(), pooled, retain_graph=True, materialize_grads=True)[0]
                for target in targets
            ]
        return torch.stack(gradients, 1)

    @staticmethod
    def _axis_weights(
        trace: DetectionTrace, level: int, members: Tensor, axis: int, smoothing: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """RoIAlign's (smoothed) weights of one level's detections along y (axis 0) or x (axis 1)."""
        pooler = trace.head.pooler.level_poolers[level]
        low, high = trace.references[members, 1 - axis], trace.references[members, 3 - axis]
        size = trace.features[trace.level_names[level]].shape[axis + 2]
        output_size = pooler.output_size
        bins = output_size[axis] if isinstance(output_size, tuple) else output_size
        found = roi_align_weights(low, high, size, bins, pooler.spatial_scale, pooler.sampling_ratio, pooler.aligned)
        if smoothing > 0:
            sigma = smoothing * (trace.boxes[members, 3 - axis] - trace.boxes[members, 1 - axis]) * pooler.spatial_scale
            found = smooth_window_weights(*found, sigma, size)
        return found


def _chunks(windows: Tensor, gradient_shape: torch.Size) -> Iterator[tuple[Tensor, int, int]]:
    """Detections with windows of about one size, a bounded number at a time: (indices, padded height, width)."""
    padded = (windows[:, 2:] + WINDOW_STEP - 1) // WINDOW_STEP * WINDOW_STEP
    sizes, bucket = torch.unique(padded, dim=0, return_inverse=True)
    _, attributes, channels, _, bins = gradient_shape
    for number, (height, width) in enumerate(sizes.tolist()):
        if height == 0 or width == 0:
            continue
        chosen = (bucket == number).nonzero()[:, 0]
        floats = height * channels * max(width, attributes * bins)
        for part in chosen.split(max(1, CHUNK_FLOATS // floats)):
            yield part, height, width


def _fit(weights: Tensor, size: int) -> Tensor:
    """Cuts or zero-pads (n, P, L) weights to L = size."""
    return F.pad(weights, (0, max(0, size - weights.shape[-1])))[..., :size]


def _cell_positions(windows: Tensor, first: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Which cells of padded windows are real, (n, height, width) bool, and where each of them goes in `values`."""
    y = torch.arange(height, device=windows.device)[:, None]
    x = torch.arange(width, device=windows.device)
    inside = (y < windows[:, 2, None, None]) & (x < windows[:, 3, None, None])
    position = first[:, None, None] + y * windows[:, 3, None, None] + x
    return inside, position[inside]


def _gather(cells: Tensor, image_index: Tensor, windows: Tensor, height: int, width: int) -> Tensor:
    """(n, height, width, C) features of each window; behind a window's end, whatever lies nearest."""
    _, grid_h, grid_w, channels = cells.shape
    y = (windows[:, 0, None] + torch.arange(height, device=cells.device)).clamp(max=grid_h - 1)
    x = (windows[:, 1, None] + torch.arange(width, device=cells.device)).clamp(max=grid_w - 1)
    index = (image_index[:, None, None] * grid_h + y[:, :, None]) * grid_w + x[:, None, :]
    return cells.view(-1, channels)[index.flatten()].view(len(windows), height, width, channels)
