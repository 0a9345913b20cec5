"""The fast engine of two-stage detectors: one backward pass an attribute, to the pooled features only.

RoIs don't see each other in the head, so the gradient of a *sum* of scalars with respect to the pooled features holds
every instance's own gradient. RoIAlign's weights bring it to the feature map, in the window under the box.

Shape letters: D detections, n of them in a chunk, K attributes, C channels, P x Q pooled cells, h x w a window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

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
from ..base import SmoothingEngine, register_engine
from ..memory import Halving
from ..targets import target_scalars
from ..windows import GradientWindows, MapWindows, assemble, gather_windows, pack
from .norm_gradients import contiguous_norm_gradients

# Windows are padded to multiples of this many cells and handled together with others of that size.
WINDOW_STEP = 8
# Floats that one chunk of windows may hold; bounds memory, whatever the number of detections.
CHUNK_FLOATS = 8_000_000


@register_engine("roi")
class RoIEngine(SmoothingEngine):
    """Analytic maps through RoIAlign, equal to autograd's; see the module's docstring."""

    def __init__(self, model: torch.nn.Module, layer: str | None = None):
        super().__init__(model, layer)
        self.halving = Halving()

    def unsupported(self, trace: DetectionTrace, attributes: Sequence[str] = ()) -> str | None:
        """Names what is not known to be linear, separable and instance-wise."""
        if self.layer is not None:
            return f"layer {self.layer!r} does not feed the pooler directly"
        if not self.recognises(trace):
            return f"{type(trace.head).__name__} pools no RoIs"
        head = _head_of(trace)
        read = {source for name in attributes for source in trace.sources_of(name)}
        for stage in (head.stages[number] for number in sorted(read or range(head.num_box_stages))):
            if type(stage.pooler) is not ROIPooler:
                return f"the pooler {type(stage.pooler).__name__} is not ROIPooler"
            for level in stage.pooler.level_poolers:
                if type(level) is not ROIAlign:
                    return f"the pooler {type(level).__name__} is not RoIAlign"
        return head.why_not_instance_wise(attributes)

    def recognises(self, trace: DetectionTrace) -> bool:
        """Two-stage detectors."""
        return hasattr(trace.head, "stages")

    def gradient_windows(
        self, trace: DetectionTrace, attributes: Sequence[str], smoothing: float = 0.0
    ) -> Iterator[GradientWindows]:
        """See :meth:`SmoothingEngine.gradient_windows`."""
        for level in self._levels(trace, attributes, smoothing):
            for alike in level.by_window_size():
                floats = alike.height * level.channels * level.attributes * (level.bins + alike.width)
                yield from self.halving(alike.rows, _at_once(floats), alike.gradient_windows)

    def odam_maps(self, trace: DetectionTrace, attributes: Sequence[str], smoothing: float = 0.0) -> list[HeatMaps]:
        """See :meth:`SmoothingEngine.odam_maps`; the gradient on the grid is never formed."""
        return assemble(trace, self._map_windows(trace, attributes, smoothing), attributes)

    def _map_windows(self, trace: DetectionTrace, attributes: Sequence[str], smoothing: float) -> Iterator[MapWindows]:
        for level in self._levels(trace, attributes, smoothing):
            for alike in level.by_window_size():
                floats = alike.height * level.channels * max(alike.width, level.attributes * level.bins)
                yield from self.halving(alike.rows, _at_once(floats), alike.map_windows)

    def _levels(self, trace: DetectionTrace, attributes: Sequence[str], smoothing: float) -> Iterator[_RoILevel]:
        """The detections of one source on one level of features after the other."""
        needed = sorted({source for name in attributes for source in trace.sources_of(name)})
        adds_up = [len(trace.sources_of(name)) > 1 for name in attributes]
        for source, gradients in zip(needed, self.pooled_gradients(trace, attributes, needed), strict=True):
            stage = _head_of(trace).stages[source]
            for level, name in enumerate(trace.level_names):
                members = (trace.level_index[:, source] == level).nonzero()[:, 0]
                if len(members) == 0:
                    continue
                rows, top, height = _axis_weights(trace, stage, level, members, 0, smoothing)
                columns, left, width = _axis_weights(trace, stage, level, members, 1, smoothing)
                yield _RoILevel(
                    trace=trace,
                    source=source,
                    name=name,
                    members=members,
                    gradients=gradients,
                    adds_up=adds_up,
                    rows=rows,
                    columns=columns,
                    windows=torch.stack([top, left, height, width], 1),
                )

    def pooled_gradients(
        self, trace: DetectionTrace, attributes: Sequence[str], sources: Sequence[int]
    ) -> list[Tensor]:
        """For each source (D, K, C, P, Q): one backward pass an attribute, of the sum over detections."""
        head = _head_of(trace)
        with torch.enable_grad(), contiguous_norm_gradients(self.model):
            # A branch pools when it is first asked for, so only if it is.
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


@dataclass(frozen=True, kw_only=True)
class _RoILevel:
    """The m detections of one source on one level.

    Attributes:
        trace: what the detector remembers.
        source: number of the source.
        name: of the level.
        members: (m,) int64 rows of the trace.
        gradients: (D, K, C, P, Q) on the pooled features, of all detections.
        adds_up: see :class:`GradientWindows`.
        rows: (m, P, L_y), RoIAlign's (smoothed) weights along y from each window's first cell.
        columns: (m, Q, L_x), the same along x.
        windows: (m, 4) int64, top, left, height, width in cells.
    """

    trace: DetectionTrace
    source: int
    name: str
    members: Tensor
    gradients: Tensor
    adds_up: Sequence[bool]
    rows: Tensor
    columns: Tensor
    windows: Tensor

    @property
    def features(self) -> Tensor:
        """(N, C, H, W)."""
        return self.trace.features[self.name]

    @cached_property
    def cells(self) -> Tensor:
        """(N, H, W, C): the features with channels last."""
        return self.features.permute(0, 2, 3, 1).contiguous()

    @property
    def strides(self) -> Tensor:
        """(2,) model-input pixels per cell along y, x."""
        return self.trace.references.new_tensor([self.trace.strides[self.name]] * 2)

    @property
    def attributes(self) -> int:
        """K."""
        return self.gradients.shape[1]

    @property
    def channels(self) -> int:
        """C."""
        return self.gradients.shape[2]

    @property
    def bins(self) -> int:
        """Q."""
        return self.gradients.shape[4]

    def by_window_size(self) -> Iterator[_AlikeRoIs]:
        """The detections grouped by their windows' size, rounded up."""
        padded = (self.windows[:, 2:] + WINDOW_STEP - 1) // WINDOW_STEP * WINDOW_STEP
        sizes, group = torch.unique(padded, dim=0, return_inverse=True)
        for number, (height, width) in enumerate(sizes.tolist()):
            yield _AlikeRoIs(self, (group == number).nonzero()[:, 0], height, width)


@dataclass(frozen=True)
class _AlikeRoIs:
    """Some detections of a level, whose windows are padded to one size.

    Attributes:
        level: the level.
        rows: (n,) int64, which of the level's detections they are.
        height, width: of the padded windows in cells.
    """

    level: _RoILevel
    rows: Tensor
    height: int
    width: int

    def gradient_windows(self, chosen: Tensor) -> GradientWindows:
        """Gradients of the `chosen` of the level's detections on the grid."""
        level, detections = self.level, self.level.members[chosen]
        by_row = torch.einsum("nkcpq,npy->nkcyq", level.gradients[detections], self._weights(level.rows, chosen, 0))
        return GradientWindows(
            detections=detections,
            source=level.source,
            boxes=level.trace.boxes[detections],
            features=level.features,
            image_index=level.trace.image_index[detections],
            windows=level.windows[chosen],
            strides=level.strides,
            gradients=torch.einsum("nkcyq,nqx->nkcyx", by_row, self._weights(level.columns, chosen, 1)),
            adds_up=level.adds_up,
        )

    def map_windows(self, chosen: Tensor) -> MapWindows:
        """ODAM's maps of the `chosen` of the level's detections."""
        level, detections, windows = self.level, self.level.members[chosen], self.level.windows[chosen]
        images = level.trace.image_index[detections]
        activations = gather_windows(level.cells, images, windows, self.height, self.width)
        weights = self._weights(level.rows, chosen, 0), self._weights(level.columns, chosen, 1)
        maps = pooled_gradient_times_features(level.gradients[detections], *weights, activations)
        height, width = level.features.shape[-2:]
        return MapWindows(
            detections=detections,
            source=level.source,
            windows=windows,
            grid=(height, width),
            strides=level.strides,
            values=pack(maps, windows),
            adds_up=level.adds_up,
        )

    def _weights(self, weights: Tensor, chosen: Tensor, axis: int) -> Tensor:
        """Weights of the chosen detections, cut or zero-padded to the windows' size along y (axis 0) or x (axis 1)."""
        size = (self.height, self.width)[axis]
        return F.pad(weights[chosen], (0, max(0, size - weights.shape[-1])))[..., :size]


def _at_once(floats: int) -> int:
    """How many detections to take at a time, if one takes so many floats."""
    return max(1, CHUNK_FLOATS // max(1, floats))


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
    """The head of a trace with stages: of this package, or one made like its own."""
    return cast(TracedRoIHead, trace.head)
