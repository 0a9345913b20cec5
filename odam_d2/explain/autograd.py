"""The plain engine: one autograd call a map. Slow, works for any detector and any layer, and is the others' oracle.

Shape letters: D detections, K attributes, C channels, (H, W) the grid of the explained layer.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..ops.cam import odam
from ..ops.smoothing import gaussian_weights
from ..structures import DetectionTrace, HeatMaps
from .base import GradientEngine, register_engine, split_by_image
from .targets import target_scalars

# A raw map (H, W) and the strides (2,) of its grid along y, x.
Map = tuple[Tensor, Tensor]


@register_engine("autograd")
class AutogradEngine(GradientEngine):
    """Gradients by ``torch.autograd.grad``, one detection and attribute after the other."""

    def unsupported(self, trace: DetectionTrace) -> str | None:
        """Nothing is: whatever has a graph can be explained."""
        del trace
        return None

    def odam_maps(self, trace: DetectionTrace, attributes: Sequence[str], smoothing: float) -> list[HeatMaps]:
        """See :meth:`GradientEngine.odam_maps`."""
        maps = list(self.iterate(trace, attributes, smoothing))
        return self._as_heat_maps(trace, maps, attributes)

    def iterate(self, trace: DetectionTrace, attributes: Sequence[str], smoothing: float) -> Iterator[Map]:
        """One map after the other, attributes running fastest: for progress bars and timings.

        Yields:
            (H, W) raw maps on the whole grid, with that grid's strides along y, x.
        """
        with torch.enable_grad():
            leaves, strides, predictions = self._predict(trace)
            targets = target_scalars(predictions, attributes)
        for index, leaf in enumerate(leaves):
            number = int(trace.image_index[index])
            box = trace.boxes[index]
            sigma = smoothing * (box[2:] - box[:2]).flip(0) / strides[index]  # along y, x, in cells
            for target in targets:
                (gradient,) = torch.autograd.grad(target[index], leaf, retain_graph=True, materialize_grads=True)
                yield odam(_smooth(gradient[number], sigma), leaf.detach()[number]), strides[index]

    def _predict(self, trace: DetectionTrace):
        """Predictions with a graph, and for each detection the leaf that it is explained on and that leaf's strides."""
        if self.layer is None:
            features = {name: feature.detach().requires_grad_() for name, feature in trace.features.items()}
            predictions = trace.head.predict(features, trace)
            leaves = [features[name] for name in trace.level_names]
            levels = trace.level_index.tolist()
            if -1 in levels:
                levels = [_level_of(logit, leaves) for logit in predictions.logits]
            strides = [[trace.strides[trace.level_names[level]]] * 2 for level in levels]
            strides = trace.references.new_tensor(strides).view(-1, 2)
            return [leaves[level] for level in levels], strides, predictions
        with captured_layer(self.model, self.layer) as outputs:
            features = trace.compute_features()
        leaf = _the_one_map(outputs, self.layer, len(trace.image_sizes))
        predictions = trace.head.predict(features, trace)
        stride = [padded / cells for padded, cells in zip(trace.padded_size, leaf.shape[-2:], strict=True)]
        strides = trace.references.new_tensor(stride).expand(len(trace), 2)
        return [leaf] * len(trace), strides, predictions

    @staticmethod
    def _as_heat_maps(trace: DetectionTrace, maps: list[Map], attributes: Sequence[str]) -> list[HeatMaps]:
        """Whole grids as windows, for D * K maps that run through attributes fastest."""
        device, count = trace.references.device, len(attributes)
        firsts = maps[::count]
        grids = torch.tensor([m.shape for m, _ in firsts], dtype=torch.int64, device=device).view(-1, 2)
        strides = torch.cat([trace.references.new_zeros(0, 2), *(s[None] for _, s in firsts)])
        nothing = trace.references.new_zeros(0)
        values = torch.stack([torch.cat([nothing, *(m.flatten() for m, _ in maps[k::count])]) for k in range(count)])
        windows = torch.cat([torch.zeros_like(grids), grids], 1)
        return split_by_image(trace, values, windows, grids, strides, attributes)


def _level_of(logit: Tensor, leaves: Sequence[Tensor]) -> int:
    """The level that a logit depends on; of several, the one with the steepest gradient."""
    gradients = torch.autograd.grad(logit, list(leaves), retain_graph=True, materialize_grads=True)
    return int(torch.stack([g.abs().amax() for g in gradients]).argmax())


@contextmanager
def captured_layer(model: nn.Module, path: str) -> Iterator[list]:
    """Puts a copy of a fresh leaf in the place of a module's output; the graph then starts there, and no earlier.

    Args:
        model: the detector.
        path: the module's path in it, as in ``model.named_modules()``.

    Yields:
        A list that collects the leaves, one for each time the module runs (what is no tensor as it is). The hook goes
        when the block ends.

    Raises:
        ValueError: if the model has no such module; names the nearest that it has.
    """
    module = find_layer(model, path)
    outputs: list = []

    def keep(_module, _inputs, output):
        if isinstance(output, Tensor) and output.is_floating_point():
            output = output.detach().requires_grad_()
            outputs.append(output)
            return output.clone()  # what follows may work in place, which a leaf does not allow
        outputs.append(output)
        return None

    handle = module.register_forward_hook(keep)
    try:
        yield outputs
    finally:
        handle.remove()


def find_layer(model: nn.Module, path: str) -> nn.Module:
    """The module at `path`, or a ValueError that lists what stands beside it."""
    modules: Mapping[str, nn.Module] = dict(model.named_modules())
    if path and path in modules:
        return modules[path]
    parent = path
    while parent and parent not in modules:
        parent = parent.rpartition(".")[0]
    beside = [f"{parent}.{name}" if parent else name for name, _ in modules[parent].named_children()]
    raise ValueError(f"`layer` must be the path of a module; got {path!r}: choose one, e.g. among {beside}")


def _the_one_map(outputs: list, path: str, num_images: int) -> Tensor:
    """The captured output, if it is one map for each picture."""
    found = [tuple(o.shape) if isinstance(o, Tensor) else type(o).__name__ for o in outputs]
    is_map = [isinstance(o, Tensor) and o.dim() == 4 and len(o) == num_images for o in outputs]
    if is_map != [True]:
        raise ValueError(
            f"`layer` {path!r} must give one ({num_images}, C, H, W) map when the backbone runs on {num_images} "
            f"pictures; got {found or 'nothing'}: name a convolution or a block of the backbone"
        )
    return outputs[0]


def _smooth(gradient: Tensor, sigma: Tensor) -> Tensor:
    """Phi: a Gaussian over (C, H, W) with standard deviations along y and x in cells; 0 leaves it as it is."""
    if not bool((sigma > 0).any()):
        return gradient
    height, width = gradient.shape[-2:]
    along_y = gaussian_weights(sigma[:1], height, height, 0)[0]
    along_x = gaussian_weights(sigma[1:], width, width, 0)[0]
    return torch.einsum("cyx,yv,xu->cvu", gradient, along_y, along_x)
