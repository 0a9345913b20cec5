"""A detector whose layers forget what they learned, from the heads down, and get it back.

Source: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018 (cascading randomisation).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# What holds the layers that features come from, under the names that Detectron2 and transformers give it.
BACKBONES = ("backbone", "bottom_up")


@dataclass(frozen=True)
class LayerGroup:
    """Layers that are randomised together.

    Attributes:
        name: for people.
        parameters: theirs that no earlier group holds.
    """

    name: str
    parameters: tuple[Tensor, ...]


def layer_groups(model: nn.Module) -> list[LayerGroup]:
    """All parameters of a detector, in groups from the output to the image.

    On the way from the detector into its innermost backbone, what stands beside that way is a group: the heads, then
    the feature pyramid. The innermost backbone's own parts follow one by one, the last first: res5 ... res2, stem.
    """
    groups: list[LayerGroup] = []
    seen: set[int] = set()

    def add(name: str, parameters) -> None:
        new = [p for p in parameters if id(p) not in seen]
        seen.update(map(id, new))
        if new:
            groups.append(LayerGroup(name, tuple(new)))

    path, module = "", model
    while (inner := _way_in(module)) is not None:
        child = getattr(module, inner)
        below = {id(p) for p in child.parameters()}
        names = [
            name for name, other in module.named_children() if name != inner and any(True for _ in other.parameters())
        ]
        label = ", ".join(path + name for name in names) if len(names) <= 2 else f"{path[:-1] or 'all'} beside {inner}"
        add(label, (p for p in module.parameters() if id(p) not in below))
        path, module = f"{path}{inner}.", child
    for name, child in reversed(list(module.named_children())):
        add(path + name, child.parameters())
    add(path[:-1] or "all", module.parameters())
    return groups


@contextmanager
def weights_restored(model: nn.Module) -> Iterator[None]:
    """Whatever happens to the parameters inside, they are bit for bit what they were afterwards; also on an error."""
    kept = [(parameter, parameter.detach().clone()) for parameter in model.parameters()]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in kept:
                parameter.copy_(value)


@torch.no_grad()
def shuffle_weights(parameters: tuple[Tensor, ...], generator: torch.Generator) -> None:
    """Puts the values of each parameter in a random order, in place.

    Departure from the source, which draws new weights as at initialisation: a tensor's own values keep its scale, so
    that norms with trained statistics neither overflow nor fall silent, whatever the architecture.
    """
    for parameter in parameters:
        order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
        parameter.copy_(parameter.flatten()[order].view_as(parameter))


def _way_in(module: nn.Module) -> str | None:
    """The child that is a backbone or holds one; None at the innermost."""
    children = dict(module.named_children())
    for name in BACKBONES:
        if name in children:
            return name
    for name, child in children.items():
        if any(part in BACKBONES for path, _ in child.named_modules() for part in path.split(".")):
            return name
    return None
