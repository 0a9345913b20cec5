"""Leaves in the place of the maps that some modules give, so that a detector's graph starts there.

Shape letters: N images, C channels, (H, W) the grid of a map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from detectron2.modeling import Backbone
from torch import Tensor, nn

from ..utils.threads import in_this_thread


class Leaves:
    """What the modules gave in one pass: named maps, and the size of what went into the first module.

    Args:
        num_images: N.
        replacement: name -> (N, C, H, W) to be given in the place of a map; what is not named has a new leaf.

    Attributes:
        maps: name -> (N, C, H, W) leaf, in the order in which they came.
        padded_size: (h, w) of the first module's input, padding included; None where that is no tensor of images.
        given: name of each module that ran -> what it gave, each time.
    """

    def __init__(self, num_images: int, replacement: Mapping[str, Tensor] | None = None):
        self.num_images = num_images
        self.replacement = replacement or {}
        self.maps: dict[str, Tensor] = {}
        self.padded_size: tuple[int, int] | None = None
        self.given: dict[str, list[Any]] = {}

    @property
    def calls(self) -> dict[str, int]:
        """How often each module ran."""
        return {name: len(outputs) for name, outputs in self.given.items()}

    def passed(self, module: nn.Module, output: Any) -> None:
        """What a module in front of these gave."""

    def place(self, name: str, value: Any) -> Any:
        """The same structure with a copy of a leaf for each map in it; what is no map stays."""
        if isinstance(value, Tensor):
            return self._leaf(name, value)
        if isinstance(value, Mapping):
            return type(value)({key: self.place(_join(name, key), one) for key, one in value.items()})  # type: ignore[call-arg]
        if type(value) in (list, tuple):
            return type(value)(self.place(_join(name, number), one) for number, one in enumerate(value))
        return value

    def _leaf(self, name: str, value: Tensor) -> Tensor:
        """One leaf for a map of the N images; several where it holds N images several times over, as branches give."""
        times, rest = divmod(len(value) if value.dim() == 4 else 0, self.num_images)
        if not times or rest or not value.is_floating_point():
            return value
        parts = value.detach().chunk(times)
        names = [name] if times == 1 else [f"{name}[{number}]" for number in range(times)]
        for one, part in zip(names, parts, strict=True):
            # A leaf of its own memory: what follows may work in place.
            leaf = self.replacement.get(one)
            self.maps[one] = part.clone().detach_().requires_grad_() if leaf is None else leaf
        with torch.enable_grad():
            return torch.cat([self.maps[one] for one in names]) if times > 1 else self.maps[name].clone()


@contextmanager
def graph_in_place() -> Iterator[None]:
    """Inside, a graph survives what works in place on its tensors afterwards, as dense heads' ``sigmoid_`` does.

    What backward passes need is kept as a copy; weights, which nobody changes in a forward pass, are kept themselves.
    """

    def pack(tensor: Tensor) -> Tensor:
        # `detach_` in the end: `detach` may be without effect here, see `WholeGraph`.
        return tensor if tensor.is_leaf and tensor.requires_grad else tensor.clone().detach_()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept):
        yield


def find_backbone(model: nn.Module) -> nn.Module | None:
    """Where a detector's maps come from: its ``backbone``, else the outermost one of Detectron2's kind, else None.

    Some wrap the whole network, which has the backbone, for Detectron2's sake.
    """
    own = getattr(model, "backbone", None)
    if isinstance(own, nn.Module):
        return own
    return next((module for module in model.modules() if isinstance(module, Backbone) and module is not model), None)


def _join(name: str, key: Any) -> str:
    return f"{name}.{key}" if name else str(key)


@contextmanager
def leaves_at(modules: Mapping[str, nn.Module], leaves: Leaves, quiet: Iterable[nn.Module] = ()) -> Iterator[Leaves]:
    """Inside, the modules give leaves, and run without a graph themselves; the hooks go when the block ends.

    Args:
        modules: prefix of the maps' names -> module.
        leaves: new, to be filled.
        quiet: other modules that run without a graph, being in front of these.
    """
    modes: list[bool] = []

    def before(_module: nn.Module, inputs: Any) -> None:
        modes.append(torch.is_grad_enabled())
        torch.set_grad_enabled(False)
        if leaves.padded_size is None:
            first = inputs[0] if inputs else None
            first = getattr(first, "tensor", first)
            if isinstance(first, Tensor) and first.dim() == 4:
                leaves.padded_size = (int(first.shape[-2]), int(first.shape[-1]))

    def after(name: str) -> Callable[..., Any]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            torch.set_grad_enabled(modes.pop())
            leaves.given.setdefault(name, []).append(output)
            return leaves.place(name, output)

        return hook

    def passed(module: nn.Module, _inputs: Any, output: Any) -> None:
        torch.set_grad_enabled(modes.pop())
        leaves.passed(module, output)

    with ExitStack() as stack:
        stack.enter_context(torch.set_grad_enabled(torch.is_grad_enabled()))  # as it was, also after an error inside
        for module in {*quiet, *modules.values()}:
            stack.callback(module.register_forward_pre_hook(in_this_thread(before)).remove)
        for module in {*quiet} - {*modules.values()}:
            stack.callback(module.register_forward_hook(in_this_thread(passed)).remove)
        for name, module in modules.items():
            stack.callback(module.register_forward_hook(in_this_thread(after(name))).remove)
        yield leaves
