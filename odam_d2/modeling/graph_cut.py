"""Which maps a detector's results have a graph to, and where the graph ends that reaches none."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator, RotatedAnchorGenerator
from detectron2.modeling.proposal_generator import RPN
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn

from .graph_modes import PartsAsCopies
from .leaves import Leaves, leaves_at

# What gives constants by design: boxes that later parts start from.
_CONSTANT = (DefaultAnchorGenerator, RotatedAnchorGenerator, RPN)


# Backward passes of what puts several tensors together, as the levels of a detector's heads.
_JOINTS = ("CatBackward", "StackBackward")

# Backward passes of roots and powers, which make NaN of a gradient of zero where their argument is zero.
_ROOTS = ("SqrtBackward", "RsqrtBackward", "PowBackward")


def reached(tensors: Iterable[Tensor], leaves: Mapping[str, Tensor]) -> list[str]:
    """Names of the leaves that a tensor has a graph to, in their order; walks the graph, computes nothing."""
    wanted = {id(leaf): name for name, leaf in leaves.items()}
    found = {wanted.get(id(getattr(node, "variable", None))) for node in _nodes(tensors)}
    return [name for name in leaves if name in found]


def guard_roots(tensors: Iterable[Tensor]) -> None:
    """Lets a gradient of zero stay zero on its way through the roots in the graph of some tensors.

    A root of zero has an infinite slope, and 0 * inf is NaN: one zero among the scores of all proposals would make NaN
    of every detection's gradient, though it depends on none but its own.
    """

    def hook(given: tuple[Tensor | None, ...], taken: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        (out,) = taken
        if out is None:
            return given
        return tuple(
            torch.where(out == 0, 0.0, one) if one is not None and one.shape == out.shape else one for one in given
        )

    for node in _nodes(tensors):
        if type(node).__name__.startswith(_ROOTS):
            node.register_hook(hook)


def end_zeros(tensors: Iterable[Tensor]) -> None:
    """Ends a gradient of zero where the graph of some tensors parts.

    A prediction of a detector with several levels comes from one or two of them. Behind the place where the levels are
    joined, autograd would take zeros through the heads of all others, at the price of their own gradients.
    """

    def hook(given: tuple[Tensor | None, ...], _taken: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        return tuple(None if one is None or _is_zero(one) else one for one in given)

    for node in _nodes(tensors):
        if type(node).__name__.startswith(_JOINTS):
            node.register_hook(hook)


def _is_zero(gradient: Tensor) -> bool:
    try:
        return not bool(gradient.abs().sum())
    except RuntimeError:  # several gradients are computed at once, of which a single one can't be asked
        return False


def _nodes(tensors: Iterable[Tensor]) -> Iterator[Any]:
    """Every node in the graph of some tensors, once."""
    stack = [tensor.grad_fn for tensor in tensors if tensor.grad_fn is not None]
    seen = set(stack)
    while stack:
        node = stack.pop()
        yield node
        for after, _ in node.next_functions:
            if after is not None and after not in seen:
                seen.add(after)
                stack.append(after)


def find_cut(
    model: nn.Module, sources: Callable[[nn.Module], Mapping[str, nn.Module]], batched_inputs: list[dict]
) -> str:
    """In a few words, where the graph from the maps to the results of a detector ends.

    Runs a copy of the detector whose weights have no gradients, so that a tensor requires one just where it depends on
    the maps. What gives constants by design, anchors and proposals, is passed over.

    Args:
        model: in eval mode; stays as it is.
        sources: from the copy to the modules that give the maps.
        batched_inputs: the images.
    """
    try:
        twin = copy.deepcopy(model).requires_grad_(False)
    except Exception:  # whatever a module that can't be copied raises
        return "at a place that was not found, since the detector can't be copied"
    constant = {name for name, one in twin.named_modules() if isinstance(one, _CONSTANT)}
    cuts: list[str] = []
    last: list[str] = []
    passed_over: list[str] = []

    def watch(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, inputs: Any, output: Any) -> None:
            if any(name == one or name.startswith(f"{one}.") for one in constant):
                if name in constant and any(one.requires_grad for one in tensors_in(inputs)):
                    passed_over.append(name)
                return
            given = list(tensors_in(output))
            if any(one.requires_grad for one in given):
                last.append(name)
            elif given and any(one.requires_grad for one in tensors_in(inputs)):
                cuts.append(name)

        return hook

    for name, module in twin.named_modules():
        if name:
            module.register_forward_hook(watch(name))
    # The hooks of the leaves come last, so the modules themselves are seen as they are.
    with torch.enable_grad(), leaves_at(sources(twin), Leaves(len(batched_inputs))), PartsAsCopies():
        twin(batched_inputs)
    behind = f"behind {last[-1]!r}, the last module whose output depends on the maps" if last else "before any module"
    if not cuts and not last and passed_over:
        return f"in {passed_over[-1]!r}, whose boxes are constants"
    if not cuts:
        return f"in `forward` of {type(model).__name__}, {behind}"
    outer = min((one for one in cuts if f"{cuts[0]}.".startswith(f"{one}.")), key=len)
    inside = [name for name in last if name.startswith(f"{outer}.")]
    return f"in {outer!r}" + (f", behind {inside[-1]!r}" if inside else "")


def tensors_in(value: Any) -> Iterable[Tensor]:
    """The floating-point tensors in what modules take and give: containers and Detectron2's structures."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from tensors_in(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from tensors_in(one)
    elif isinstance(value, Instances):
        yield from tensors_in(value.get_fields())
    elif isinstance(value, Boxes | ImageList):
        yield value.tensor
