"""The fast engine of dense heads: gradients in the window of features that one anchor's outputs see.

An output of RetinaNet or FCOS sees (2k + 3)^2 cells through k + 1 convolutions of 3 x 3. Its gradient starts as the
output convolution's own weights and grows by a cell with each layer that it is taken back through; the ReLU masks on
the way are those of the detector's own forward pass. Exact without norms and with batch norm. Group norm couples the
whole grid through its statistics: ``frozen`` takes them as constants, ``exact`` goes back through the whole grid.

Shape letters: D detections, K attributes, O outputs of an anchor.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from ...modeling.dense import TracedDenseHead
from ...structures import DetectionTrace, HeatMaps
from ..agreement import require_reported_scores
from ..base import GradientEngine, register_engine
from ..targets import target_scalars
from ..windows import GradientWindows, MapWindows, assemble
from .dense_gradients import GROUP_NORMS, DenseChunk, DenseGradients, Directions, Place, WindowGradients

Made = TypeVar("Made")

# Floats of one chunk's gradients; bounds memory, whatever the number of detections.
CHUNK_FLOATS = 16_000_000


@register_engine("dense")
class DenseEngine(GradientEngine):
    """Gradients through the head's convolutions; see the module's docstring."""

    def unsupported(self, trace: DetectionTrace, attributes: Sequence[str] = ()) -> str | None:
        """Names what is not a head of plain convolutions, norms and ReLUs."""
        del attributes
        if self.layer is not None:
            return f"layer {self.layer!r} is not what the head reads"
        if not hasattr(trace.head, "branches"):
            return f"{type(trace.head).__name__} is no dense head"
        head = _head_of(trace)
        if head.unreadable is None:
            for branch in head.branches:
                if any(len(layer.masks) != len(trace.level_names) for layer in branch.layers):
                    return "the head does not run its layers once a level"
        return head.unreadable

    def approximation(self, trace: DetectionTrace) -> str | None:
        """Group norm's statistics are taken as constants, unless they shall not be."""
        if _has_group_norm(trace) and GROUP_NORMS[self.group_norm] is WindowGradients:
            return "group norm is taken at its frozen statistics (not so with group_norm='exact')"
        return None

    def gradient_windows(
        self, trace: DetectionTrace, attributes: Sequence[str], smoothing: float
    ) -> Iterator[GradientWindows]:
        """See :meth:`GradientEngine.gradient_windows`."""

        def gather(chunk: DenseChunk, strides: Tensor) -> GradientWindows:
            return GradientWindows(
                chunk.place.detections, 0, chunk.features, chunk.place.image_index, chunk.windows, strides,
                chunk.gradients(), [False] * len(attributes),
            )  # fmt: skip

        return self._chunks(trace, attributes, smoothing, gather)

    def odam_maps(self, trace: DetectionTrace, attributes: Sequence[str], smoothing: float) -> list[HeatMaps]:
        """See :meth:`GradientEngine.odam_maps`."""

        def multiply(chunk: DenseChunk, strides: Tensor) -> MapWindows:
            values, (height, width) = chunk.gradient_times_features(), chunk.features.shape[-2:]
            waits = [False] * len(attributes)
            return MapWindows(chunk.place.detections, 0, chunk.windows, (height, width), strides, values, waits)

        return assemble(trace, self._chunks(trace, attributes, smoothing, multiply), attributes)

    def gradients_of(self, trace: DetectionTrace) -> DenseGradients:
        """The way back through the head."""
        return (GROUP_NORMS[self.group_norm] if _has_group_norm(trace) else WindowGradients)(trace)

    def _chunks(
        self,
        trace: DetectionTrace,
        attributes: Sequence[str],
        smoothing: float,
        work: Callable[[DenseChunk, Tensor], Made],
    ) -> Iterator[Made]:
        """What `work` makes of a bounded number of detections of one level, and its (2,) strides along y, x."""
        head, jacobian = _head_of(trace), _jacobian(trace, attributes)
        branches = [(branch, Directions.of(jacobian[:, :, branch.outputs])) for branch in head.branches]
        gradients = self.gradients_of(trace)
        y, x, anchors = head.cells(trace)
        for level, name in enumerate(trace.level_names):
            strides = trace.references.new_tensor([trace.strides[name]] * 2)
            sigma = smoothing * (trace.boxes[:, 2:] - trace.boxes[:, :2]).flip(1) / strides  # along y, x, in cells

            def do(chosen: Tensor, level=level, features=trace.features[name], strides=strides, sigma=sigma) -> Made:
                place = Place(level, chosen, trace.image_index[chosen], y[chosen], x[chosen], anchors[chosen])
                parts = [(d.mix[chosen], gradients.of_branch(branch, place, d)) for branch, d in branches]
                chunk = DenseChunk(place, features, *gradients.window(place)[:2], parts)
                return work(chunk if smoothing == 0 else chunk.smoothed(sigma[chosen]), strides)

            members = (trace.level_index[:, 0] == level).nonzero()[:, 0]
            yield from self.halving(members, max(1, CHUNK_FLOATS // (len(attributes) * gradients.floats(level))), do)


def _head_of(trace: DetectionTrace) -> TracedDenseHead:
    """The head of a trace with branches: in this package, or made like its own."""
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
