"""The plain engine: automatic differentiation, for any detector and any layer; the oracle of the others.

Shape letters: D detections, n of them in a chunk, N images, K attributes, C channels, (H, W) the grid of the
explained layer.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...ops.smoothing import gaussian_weights
from ...structures import DetectionTrace, Predictions
from ...utils.threads import in_this_thread
from ...utils.user_warnings import warn_user
from ..agreement import require_reported_scores
from ..base import SmoothingEngine, register_engine
from ..targets import target_scalars
from ..windows import GradientWindows
from .norm_gradients import contiguous_norm_gradients
from .vjp import BatchedGradients


@register_engine("autograd")
class AutogradEngine(SmoothingEngine):
    """Gradients by ``torch.autograd.grad``, for as many detections and attributes at once as memory allows."""

    def __init__(self, model: nn.Module, layer: str | None = None):
        super().__init__(model, layer)
        self.gradients = BatchedGradients()

    def unsupported(self, trace: DetectionTrace, attributes: Sequence[str] = ()) -> str | None:
        """None: whatever has a graph can be explained."""
        del trace, attributes
        return None

    def gradient_windows(
        self, trace: DetectionTrace, attributes: Sequence[str], smoothing: float = 0.0
    ) -> Iterator[GradientWindows]:
        """See :meth:`SmoothingEngine.gradient_windows`; on the whole grid of each level.

        A detection whose sources share a level has one window for them, under the number of the first.
        """
        with torch.enable_grad(), contiguous_norm_gradients(self.model):
            leaves, strides, levels, predictions = self._predict(trace, attributes)
            require_reported_scores(predictions, trace)
            targets = torch.stack(target_scalars(predictions, attributes), 1)  # (D, K)
        recorded = _recorded(trace) is not None
        used = {name: self._sources(trace, name) for name in attributes}
        adds_up = [len(used[name]) > 1 for name in attributes]
        sources = dict.fromkeys(source for name in attributes for source in used[name])
        for sites, members in _by_levels(levels).items():
            distinct = list(dict.fromkeys(sites[source] for source in sources))
            wanted = [leaves[level] for level in distinct]
            while members:
                count = max(1, self.gradients.size(wanted) // len(attributes))
                chosen, members = torch.tensor(members[:count], device=trace.rows.device), members[count:]
                images = trace.image_index[chosen]
                boxes = trace.boxes[chosen]
                extent = (boxes[:, 2:] - boxes[:, :2]).flip(1)  # along y, x
                of_scalar = images.repeat_interleave(len(attributes))
                found = self.gradients(targets[chosen].flatten(), wanted, of_scalar)
                parts = [_Part(torch.arange(len(chosen), device=chosen.device), range(len(distinct)), adds_up)]
                if recorded:
                    found, there = _without_broken(found, chosen, attributes)
                    parts = _by_leaves(there, len(attributes))
                for part in parts:
                    for number in part.leaves:
                        leaf, stride = wanted[number], strides[distinct[number]]
                        gradient = found[number].unflatten(0, (len(chosen), len(attributes)))[part.rows]
                        window = torch.tensor([[0, 0, *leaf.shape[-2:]]], device=chosen.device)
                        yield GradientWindows(
                            detections=chosen[part.rows],
                            source=sites.index(distinct[number]),
                            boxes=boxes[part.rows],
                            features=leaf.detach(),
                            image_index=images[part.rows],
                            windows=window.expand(len(part.rows), 4),
                            strides=stride,
                            gradients=_smooth(gradient, smoothing * extent[part.rows] / stride),
                            adds_up=part.adds_up,
                        )

    def _sources(self, trace: DetectionTrace, attribute: str) -> tuple[int, ...]:
        """The sources of an attribute; a named layer is the only one."""
        return trace.sources_of(attribute) if self.layer is None else (0,)

    def _predict(
        self, trace: DetectionTrace, attributes: Sequence[str]
    ) -> tuple[list[Tensor], list[Tensor], list[list[int]], Predictions]:
        """Predictions with a graph back to leaves.

        Returns:
            The leaves (N, C, H, W); their strides (2,) along y, x; for each detection the leaf of each source; and the
            predictions.
        """
        strides = [trace.references.new_tensor([trace.strides[name]] * 2) for name in trace.level_names]
        take_recorded = _recorded(trace)
        if self.layer is None and take_recorded is not None:
            leaves, predictions = take_recorded(attributes)
            return leaves, strides, trace.level_index.tolist(), predictions
        if self.layer is None:
            features = {name: feature.detach().requires_grad_() for name, feature in trace.features.items()}
            predictions = trace.head.predict(features, trace)
            leaves = [features[name] for name in trace.level_names]
            levels = trace.level_index.tolist()
            for index, row in enumerate(levels):
                if -1 in row:
                    levels[index] = [_level_of(predictions.logits[index], leaves)] * len(row)
            return leaves, strides, levels, predictions
        with captured_layer(self.model, self.layer) as outputs:
            features = trace.compute_features()
        leaf = the_one_map(outputs, self.layer, len(trace.image_sizes))
        predictions = trace.head.predict(features, trace)
        stride = [padded / cells for padded, cells in zip(trace.padded_size, leaf.shape[-2:], strict=True)]
        return [leaf], [trace.references.new_tensor(stride)], [[0]] * len(trace), predictions


@dataclass(frozen=True)
class _Part:
    """Detections of a chunk that depend on the same leaves.

    Attributes:
        rows: (m,) int64 among those of the chunk.
        leaves: numbers of these leaves.
        adds_up: K times whether the attribute depends on several of them.
    """

    rows: Tensor
    leaves: Sequence[int]
    adds_up: Sequence[bool]


def _by_leaves(there: Tensor, attributes: int) -> list[_Part]:
    """Groups n detections by the leaves that they depend on.

    Args:
        there: (leaves, n * K) bool, where a gradient is not zero.
        attributes: K.
    """
    there = there.view(len(there), -1, attributes)
    patterns, which = torch.unique(there, dim=1, return_inverse=True)
    return [
        # A map of zeros has to lie somewhere.
        _Part((which == number).nonzero()[:, 0], pattern.any(1).nonzero()[:, 0].tolist() or [0],
              (pattern.sum(0) > 1).tolist())
        for number, pattern in enumerate(patterns.unbind(1))
    ]  # fmt: skip


def _recorded(trace: DetectionTrace) -> Callable[[Sequence[str]], tuple[list[Tensor], Predictions]] | None:
    """What hands over the graph of the detector's own pass, if the head kept it."""
    return getattr(trace.head, "recorded", None)


def _without_broken(gradients: list[Tensor], chosen: Tensor, attributes: Sequence[str]) -> tuple[list[Tensor], Tensor]:
    """Zeros in place of gradients that are not finite at some leaf: a root at zero has none, and 0 * inf is NaN.

    Args:
        gradients: for each leaf (n * K, C, H, W).
        chosen: (n,) the detections.
        attributes: K names.

    Returns:
        The gradients, and (leaves, n * K) bool where they are not zero.
    """
    # One look at each number: the largest is finite where all are, and zero where all are.
    largest = torch.stack([one.flatten(1).abs().amax(1) for one in gradients])
    finite = torch.isfinite(largest).all(0)
    if bool(finite.all()):
        return gradients, largest > 0
    for number in (~finite).nonzero()[:, 0].tolist():
        detection, attribute = int(chosen[number // len(attributes)]), attributes[number % len(attributes)]
        warn_user(
            f"the map of {attribute!r} of box {detection} of the batch is left zero, since its gradient is not finite, "
            "as that of a square root at zero"
        )
    return [torch.where(finite.view(-1, 1, 1, 1), one, 0.0) for one in gradients], finite & (largest > 0)


def _by_levels(levels: Sequence[Sequence[int]]) -> dict[tuple[int, ...], list[int]]:
    """Levels of the sources -> rows of the detections that have their sources there."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, row in enumerate(levels):
        groups.setdefault(tuple(row), []).append(index)
    return groups


def _level_of(logit: Tensor, leaves: Sequence[Tensor]) -> int:
    """The level that a logit depends on; of several, the one with the steepest gradient."""
    gradients = torch.autograd.grad(logit, list(leaves), retain_graph=True, materialize_grads=True)
    return int(torch.stack([g.abs().amax() for g in gradients]).argmax())


@contextmanager
def captured_layer(model: nn.Module, path: str) -> Iterator[list]:
    """Replaces a module's output by a copy of a fresh leaf, so that the graph starts there.

    Args:
        model: the detector.
        path: the module's path in it, as in ``model.named_modules()``.

    Yields:
        A list that collects the leaves, one for each time the module runs; outputs that are no tensors are collected
        as they are. The hook is removed when the block ends.

    Raises:
        ValueError: if the model has no such module; lists the nearest ones.
    """
    module = find_layer(model, path)
    outputs: list = []

    def keep(_module, _inputs, output):
        if isinstance(output, Tensor) and output.is_floating_point():
            output = output.detach().requires_grad_()
            outputs.append(output)
            return output.clone()  # later modules may work in place, which a leaf does not allow
        outputs.append(output)
        return None

    handle = module.register_forward_hook(in_this_thread(keep))
    try:
        yield outputs
    finally:
        handle.remove()


def find_layer(model: nn.Module, path: str) -> nn.Module:
    """The module at `path`, or a ValueError that lists its neighbours."""
    modules: Mapping[str, nn.Module] = dict(model.named_modules())
    if path and path in modules:
        return modules[path]
    parent = path
    while parent and parent not in modules:
        parent = parent.rpartition(".")[0]
    beside = [f"{parent}.{name}" if parent else name for name, _ in modules[parent].named_children()]
    raise ValueError(f"`layer` must be the path of a module; got {path!r}: choose one, e.g. among {beside}")


def the_one_map(outputs: list, path: str, num_images: int) -> Tensor:
    """The captured output of a layer, if it is one map per image.

    Args:
        outputs: what the module returned, each time it ran.
        path: the module's.
        num_images: N.

    Raises:
        ValueError: if it is not a single (N, C, H, W) tensor.
    """
    found = [tuple(o.shape) if isinstance(o, Tensor) else type(o).__name__ for o in outputs]
    is_map = [isinstance(o, Tensor) and o.dim() == 4 and len(o) == num_images for o in outputs]
    if is_map != [True]:
        raise ValueError(
            f"`layer` {path!r} must give one ({num_images}, C, H, W) map when the detector runs on {num_images} "
            f"images; got {found or 'nothing'}: name a convolution or a block of the backbone"
        )
    return outputs[0]


def _smooth(gradients: Tensor, sigma: Tensor) -> Tensor:
    """Phi: Gaussians over (n, K, C, H, W) with (n, 2) standard deviations along y, x in cells; 0 changes nothing."""
    if not bool((sigma > 0).any()):
        return gradients
    height, width = gradients.shape[-2:]
    along_y = gaussian_weights(sigma[:, 0], height, height, 0)
    along_x = gaussian_weights(sigma[:, 1], width, width, 0)
    return torch.einsum("nkcyx,nyv,nxu->nkcvu", gradients, along_y, along_x)
