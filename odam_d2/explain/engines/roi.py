"""The fast engine of two-stage detectors: one backward pass an attribute, to the pooled features only.

RoIs don't see each other in the head, so the gradient of a *sum* of scalars to the pooled features holds every
instance's own gradient. RoIAlign's weights bring it to the feature map, in the window under the box.

Shape letters: D detections, n of them in a chunk, K attributes, C channels, P x Q pooled cells, h x w a window.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar, cast

import torch
from detectron2.layers import ROIAlign
from detectron2.modeling.poolers import ROIPooler
from torch import Tensor
from torch.nn import functional as F

from ...modeling.pooled import PooledStage, TracedRoIHead
from ...ops.cam import pooled_gradient_times_features
from ...ops.roi_align import roi_align_weights
from ...ops.smoothing import smooth_window_weights
from ...structures import DetectionTrace, HeatMaps
from ..agreement import require_reported_scores
from ..base import GradientEngine, register_engine
from ..targets import target_scalars
from ..windows import GradientWindows, MapWindows, assemble, gather_windows
from .norm_gradients import contiguous_norm_gradients

Made = TypeVar("Made")
# What to do with a chunk whose `gradients` are still to come, its (n, K, C, P, Q) pooled gradients, (n, P, h) rows and
# (n, Q, w) columns.
Work = Callable[[GradientWindows, Tensor, Tensor, Tensor], Made]

# Windows are padded to multiples of this many cells and handled together with others of that size.
WINDOW_STEP = 8
# Floats that one chunk of windows may hold; bounds memory, whatever the number of detections.
CHUNK_FLOATS = 8_000_000


@register_engine("roi")
class RoIEngine(GradientEngine):
    """Analytic maps through RoIAlign, equal to autograd's; see the module's docstring."""

    def unsupported(self, trace: DetectionTrace, attributes: Sequence[str] = ()) -> str | None:
        """Names what is not known to be linear, separable and instance-wise."""
        if self.layer is not None:
            return f"layer {self.layer!r} does not feed the pooler directly"
        if not hasattr(trace.head, "stages"):
            return f"{type(trace.head).__name__} pools no RoIs"
        head = _head_of(trace)
        for stage in head.stages:
            if type(stage.pooler) is not ROIPooler:
                return f"the pooler {type(stage.pooler).__name__} is not ROIPooler"
            for level in stage.pooler.level_poolers:
                if type(level) is not ROIAlign:
                    return f"the pooler {type(level).__name__} is not RoIAlign"
        return head.why_not_instance_wise(attributes)

    def gradient_windows(
        self, trace: DetectionTrace, attributes: Sequence[str], smoothing: float
    ) -> Iterator[GradientWindows]:
        """See :meth:`GradientEngine.gradient_windows`."""

        def grow(chunk: GradientWindows, pooled: Tensor, rows: Tensor, columns: Tensor) -> GradientWindows:
            by_row = torch.einsum("nkcpq,npy->nkcyq", pooled, rows)
            chunk.gradients = torch.einsum("nkcyq,nqx->nkcyx", by_row, columns)
            return chunk

        return self._chunks(trace, attributes, smoothing, True, grow)

    def odam_maps(self, trace: DetectionTrace, attributes: Sequence[str], smoothing: float) -> list[HeatMaps]:
        """See :meth:`GradientEngine.odam_maps`; the gradient on the grid is never formed."""
        cells: dict[int, Tensor] = {}  # features with channels last, of the level at hand

        def multiply(chunk: GradientWindows, pooled: Tensor, rows: Tensor, columns: Tensor) -> MapWindows:
            key = id(chunk.features)
            if key not in cells:
                cells.clear()
                cells[key] = chunk.features.permute(0, 2, 3, 1).contiguous()  # (N, H, W, C)
            height, width = rows.shape[-1], columns.shape[-1]
            activations = gather_windows(cells[key], chunk.image_index, chunk.windows, height, width)
            return MapWindows.of(chunk, pooled_gradient_times_features(pooled, rows, columns, activations))

        return assemble(trace, self._chunks(trace, attributes, smoothing, False, multiply), attributes)

    def _chunks(
        self,
        trace: DetectionTrace,
        attributes: Sequence[str],
        smoothing: float,
        grown: bool,
        work: Work,
    ) -> Iterator[Made]:
        """Some detections of one source and level at a time, with windows of about one size.

        Args:
            trace: what the detector remembers.
            attributes: K names.
            smoothing: width of Phi.
            grown: whether chunks must leave room for gradients on the grid.
            work: what to do with a chunk.

        Yields:
            What the work made.
        """
        needed = sorted({source for name in attributes for source in trace.sources_of(name)})
        adds_up = [len(trace.sources_of(name)) > 1 for name in attributes]
        for source, gradients in zip(needed, self.pooled_gradients(trace, attributes, needed), strict=True):
            for level in range(len(trace.level_names)):
                members = (trace.level_index[:, source] == level).nonzero()[:, 0]
                if len(members) == 0:
                    continue
                stage = _head_of(trace).stages[source]
                on_level = _OnLevel(
                    trace, source, level, members, gradients, adds_up,
                    [self._axis_weights(trace, stage, level, members, axis, smoothing) for axis in (0, 1)],
                )  # fmt: skip
                for chosen, size, height, width in _of_one_size(on_level.windows, gradients.shape, grown):
                    do = partial(on_level.work, work=work, height=height, width=width)
                    yield from self.halving(chosen, size, do)

    def pooled_gradients(
        self, trace: DetectionTrace, attributes: Sequence[str], sources: Sequence[int]
    ) -> list[Tensor]:
        """For each source (D, K, C, P, Q): one backward pass an attribute, of the sum over detections."""
        head = _head_of(trace)
        with torch.enable_grad(), contiguous_norm_gradients(self.model):
            # The mask branch pools when it is first asked for, so only if it is.
            asked = {*range(head.num_box_stages), *sources}
            pooled = {number: head.stages[number].pooled.detach().requires_grad_() for number in asked}
            predictions = head.predict_pooled(pooled, trace)
            require_reported_scores(predictions, trace)
            targets = target_scalars(predictions, attributes)
            wanted = [pooled[source] for source in sources]
            gradients = [
                torch.autograd.grad(target.sum(), wanted, retain_graph=True, materialize_grads=True)
                for target in targets
            ]
        return [torch.stack(one, 1) for one in zip(*gradients, strict=True)]

    @staticmethod
    def _axis_weights(
        trace: DetectionTrace, stage: PooledStage, level: int, members: Tensor, axis: int, smoothing: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """RoIAlign's (smoothed) weights of one level's detections along y (axis 0) or x (axis 1)."""
        pooler = stage.pooler.level_poolers[level]
        low, high = stage.boxes[members, 1 - axis], stage.boxes[members, 3 - axis]
        size = trace.features[trace.level_names[level]].shape[axis + 2]
        output_size = pooler.output_size
        bins = output_size[axis] if isinstance(output_size, tuple) else output_size
        found = roi_align_weights(low, high, size, bins, pooler.spatial_scale, pooler.sampling_ratio, pooler.aligned)
        if smoothing > 0:
            sigma = smoothing * (trace.boxes[members, 3 - axis] - trace.boxes[members, 1 - axis]) * pooler.spatial_scale
            found = smooth_window_weights(*found, sigma, size)
        return found


def _head_of(trace: DetectionTrace) -> TracedRoIHead:
    """The head of a trace with stages: in this package, or made like its own."""
    return cast(TracedRoIHead, trace.head)


class _OnLevel:
    """The detections of one source on one level, ready to be worked on some at a time."""

    def __init__(
        self,
        trace: DetectionTrace,
        source: int,
        level: int,
        members: Tensor,
        gradients: Tensor,
        adds_up: Sequence[bool],
        weights: Sequence[tuple[Tensor, Tensor, Tensor]],
    ):
        name = trace.level_names[level]
        self.trace, self.source, self.members, self.gradients = trace, source, members, gradients
        self.features = trace.features[name]
        self.strides = trace.references.new_tensor([trace.strides[name]] * 2)
        self.adds_up = adds_up
        (self.rows, top, height), (self.columns, left, width) = weights
        self.windows = torch.stack([top, left, height, width], 1)

    def work(self, chosen: Tensor, work: Work[Made], height: int, width: int) -> Made:
        """Lets `work` do its part for the `chosen` detections, with windows padded to height x width."""
        detections = self.members[chosen]
        chunk = GradientWindows(
            detections, self.source, self.features, self.trace.image_index[detections], self.windows[chosen],
            self.strides, self.gradients.new_zeros(0), self.adds_up,
        )  # fmt: skip
        rows, columns = _fit(self.rows[chosen], height), _fit(self.columns[chosen], width)
        return work(chunk, self.gradients[detections], rows, columns)


def _of_one_size(windows: Tensor, shape: torch.Size, grown: bool) -> Iterator[tuple[Tensor, int, int, int]]:
    """Detections with windows of about one size: their indices, how many to take at a time, padded height, width."""
    padded = (windows[:, 2:] + WINDOW_STEP - 1) // WINDOW_STEP * WINDOW_STEP
    sizes, bucket = torch.unique(padded, dim=0, return_inverse=True)
    _, attributes, channels, _, bins = shape
    for number, (height, width) in enumerate(sizes.tolist()):
        floats = height * channels * (attributes * (bins + width) if grown else max(width, attributes * bins))
        yield (bucket == number).nonzero()[:, 0], max(1, CHUNK_FLOATS // max(1, floats)), height, width


def _fit(weights: Tensor, size: int) -> Tensor:
    """Cuts or zero-pads (n, P, L) weights to L = size."""
    return F.pad(weights, (0, max(0, size - weights.shape[-1])))[..., :size]
