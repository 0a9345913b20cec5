"""The fast engine of dense heads: gradients in the window of features that one anchor's outputs see.

An output of RetinaNet or FCOS sees (2k + 3)^2 cells through k + 1 convolutions of 3 x 3. Its gradient starts as the
output convolution's own weights and grows by a cell with each layer that it is taken back through; the ReLU masks on
the way are those of the detector's own forward pass. Exact without norms and with batch norm. Group norm couples the
whole grid through its statistics: ``carried`` adds what this spreads over the grid to within a small error, ``frozen``
takes the statistics as constants, ``exact`` goes back through the whole grid by autograd.

Shape letters: D detections, K attributes, O outputs of an anchor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from ...modeling.dense import TracedDenseHead
from ...modeling.dense_layers import Branch
from ...structures import DetectionTrace, HeatMaps
from ..agreement import require_reported_scores
from ..base import SmoothingEngine, register_engine
from ..memory import Halving
from ..targets import target_scalars
from ..windows import GradientWindows, MapWindows, assemble
from .carried_gradients import CarriedGradients
from .dense_chunk import DenseChunk, Place
from .dense_gradients import DenseGradients, Directions, GridGradients, WindowGradients

Made = TypeVar("Made")
# Ways to take group norm, whose statistics couple all cells of a grid.
GROUP_NORMS: dict[str, type[DenseGradients]] = {
    "carried": CarriedGradients,
    "frozen": WindowGradients,
    "exact": GridGradients,
}
# Floats of one chunk's gradients; bounds memory, whatever the number of detections.
CHUNK_FLOATS = 16_000_000


@register_engine("dense")
class DenseEngine(SmoothingEngine):
    """Gradients through the head's convolutions; see the module's docstring.

    Args:
        model: the detector.
        layer: see :class:`~odam_d2.explain.base.GradientEngine`; this engine explains on no named layer.
        group_norm: how group norm is taken, a key of :data:`GROUP_NORMS`.

    Raises:
        ValueError: if `group_norm` is none.
    """

    def __init__(self, model: nn.Module, layer: str | None = None, *, group_norm: str = "carried"):
        super().__init__(model, layer)
        if group_norm not in GROUP_NORMS:
            raise ValueError(
                f"`group_norm` must be one of {sorted(GROUP_NORMS)}; got {group_norm!r}: choose one of these"
            )
        self.group_norm = group_norm
        self.halving = Halving()

    def unsupported(self, trace: DetectionTrace, attributes: Sequence[str] = ()) -> str | None:
        """Names what is not a head of plain convolutions, norms and ReLUs."""
        del attributes
        if self.layer is not None:
            return f"layer {self.layer!r} is not what the head reads"
        if not self.recognises(trace):
            return f"{type(trace.head).__name__} is no dense head"
        head = _head_of(trace)
        if head.unreadable is None:
            for branch in head.branches:
                if any(len(layer.masks) != len(trace.level_names) for layer in branch.layers):
                    return "the head does not run its layers once a level"
        return head.unreadable

    def recognises(self, trace: DetectionTrace) -> bool:
        """One-stage detectors and proposal networks."""
        return hasattr(trace.head, "branches")

    def approximation(self, trace: DetectionTrace) -> str | None:
        """Group norm's statistics are constants where ``frozen`` is asked for."""
        if _has_group_norm(trace) and GROUP_NORMS[self.group_norm] is WindowGradients:
            return "group norm is taken at its frozen statistics (not so with group_norm='carried' or 'exact')"
        return None

    def gradient_windows(
        self, trace: DetectionTrace, attributes: Sequence[str], smoothing: float = 0.0
    ) -> Iterator[GradientWindows]:
        """See :meth:`SmoothingEngine.gradient_windows`."""
        for level in self._levels(trace, attributes, smoothing):
            for chunk in self.halving(level.members, level.at_once, level.chunk):
                yield from self._few(chunk, level.gradient_windows)

    def odam_maps(self, trace: DetectionTrace, attributes: Sequence[str], smoothing: float = 0.0) -> list[HeatMaps]:
        """See :meth:`SmoothingEngine.odam_maps`."""
        return assemble(trace, self._map_windows(trace, attributes, smoothing), attributes)

    def gradients_of(self, trace: DetectionTrace) -> DenseGradients:
        """The way back through the head."""
        return (GROUP_NORMS[self.group_norm] if _has_group_norm(trace) else WindowGradients)(trace)

    def _map_windows(self, trace: DetectionTrace, attributes: Sequence[str], smoothing: float) -> Iterator[MapWindows]:
        for level in self._levels(trace, attributes, smoothing):
            for chunk in self.halving(level.members, level.at_once, level.chunk):
                if level.smooth:
                    yield from self._few(chunk, level.map_windows)
                else:
                    yield level.map_windows(chunk)

    def _few(self, chunk: DenseChunk, work: Callable[[DenseChunk], Made]) -> Iterator[Made]:
        """What is made of as many detections of a chunk at a time as memory has room for, once they are formed."""
        rows = torch.arange(len(chunk), device=chunk.top.device)
        most = max(1, CHUNK_FLOATS // chunk.floats()) if chunk.floats() else len(chunk)
        return self.halving(rows, most, lambda part: work(chunk.formed(part)))

    def _levels(self, trace: DetectionTrace, attributes: Sequence[str], smoothing: float) -> Iterator[_DenseLevel]:
        """The detections of one level after the other."""
        head, jacobian = _head_of(trace), _jacobian(trace, attributes)
        branches = [(branch, Directions.of(jacobian[:, :, branch.outputs])) for branch in head.branches]
        gradients = self.gradients_of(trace)
        cells = head.cells(trace)
        everyone = torch.arange(len(trace), device=trace.rows.device)
        for level, name in enumerate(trace.level_names):
            strides = trace.references.new_tensor([trace.strides[name]] * 2)
            yield _DenseLevel(
                trace=trace,
                features=trace.features[name],
                strides=strides,
                members=(trace.level_index[:, 0] == level).nonzero()[:, 0],
                place=Place(level, everyone, trace.image_index, *cells),
                branches=branches,
                gradients=gradients,
                attributes=len(attributes),
                sigma=smoothing * (trace.boxes[:, 2:] - trace.boxes[:, :2]).flip(1) / strides,
                smooth=smoothing != 0,
            )


@dataclass(frozen=True, kw_only=True)
class _DenseLevel:
    """The detections of one level.

    Attributes:
        trace: what the detector remembers.
        features: (N, C, H, W).
        strides: (2,) model-input pixels per cell along y, x.
        members: int64 rows of the trace, of the detections of this level.
        place: where all D detections would sit on this level.
        branches: of the head, each with what is differentiated of it.
        gradients: the way back through a branch.
        attributes: K.
        sigma: (D, 2) width of Phi in cells along y, x.
        smooth: whether gradients are smoothed by Phi.
    """

    trace: DetectionTrace
    features: Tensor
    strides: Tensor
    members: Tensor
    place: Place
    branches: Sequence[tuple[Branch, Directions]]
    gradients: DenseGradients
    attributes: int
    sigma: Tensor
    smooth: bool

    @property
    def at_once(self) -> int:
        """How many detections to take at a time."""
        return max(1, CHUNK_FLOATS // (self.attributes * self.gradients.floats(self.place.level)))

    def chunk(self, chosen: Tensor) -> DenseChunk:
        """Gradients of the detections in the `chosen` rows of the trace, not smoothed."""
        return self.gradients.chunk(self.place[chosen], self.features, self.branches)

    def gradient_windows(self, chunk: DenseChunk) -> GradientWindows:
        """Gradients of the detections of a chunk, smoothed."""
        chunk = self._smoothed(chunk)
        return GradientWindows(
            detections=chunk.place.detections,
            source=0,
            boxes=self.trace.boxes[chunk.place.detections],
            features=self.features,
            image_index=chunk.place.image_index,
            windows=chunk.windows,
            strides=self.strides,
            gradients=chunk.gradients(),
            adds_up=[False] * self.attributes,
        )

    def map_windows(self, chunk: DenseChunk) -> MapWindows:
        """ODAM's maps of the detections of a chunk."""
        chunk, (height, width) = self._smoothed(chunk), self.features.shape[-2:]
        return MapWindows(
            detections=chunk.place.detections,
            source=0,
            windows=chunk.windows,
            grid=(height, width),
            strides=self.strides,
            values=chunk.gradient_times_features(),
            adds_up=[False] * self.attributes,
        )

    def _smoothed(self, chunk: DenseChunk) -> DenseChunk:
        return chunk.smoothed(self.sigma[chunk.place.detections]) if self.smooth else chunk


def _head_of(trace: DetectionTrace) -> TracedDenseHead:
    """The head of a trace with branches: of this package, or one made like its own."""
    return cast(TracedDenseHead, trace.head)


def _jacobian(trace: DetectionTrace, attributes: Sequence[str]) -> Tensor:
    """(D, K, O): how each attribute depends on the outputs of the detection's anchor."""
    head = _head_of(trace)
    with torch.enable_grad():
        outputs = head.gather(head.maps, trace).detach()
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32)).requires_grad_()
        predictions = head.decode(outputs, trace)
        require_reported_scores(predictions, trace)
        targets = target_scalars(predictions, attributes)
        gradients = [
            torch.autograd.grad(target.sum(), outputs, retain_graph=True, materialize_grads=True)[0]
            for target in targets
        ]
    return torch.stack(gradients, 1)


def _has_group_norm(trace: DetectionTrace) -> bool:
    return any(isinstance(layer.norm, nn.GroupNorm) for branch in _head_of(trace).branches for layer in branch.layers)
