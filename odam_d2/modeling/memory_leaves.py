"""Leaves in the place of what an encoder gives: a sequence of tokens, seen as the maps that it was made of.

Shape letters: N images, L tokens, C channels, (H, W) the grid of a map.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .leaves import Leaves, find_backbone

#: Where a query detector's maps can be taken, from the image on.
STAGES = ("backbone", "projection", "encoder")


class NoMapsError(ValueError):
    """What a stage gives are not the maps that it was made of."""


class MemoryLeaves(Leaves):
    """Leaves at an encoder's output (N, L, C) or (L, N, C), whose L tokens are the cells of the projected maps.

    Attributes:
        projections: the modules that give the projected maps.
        sizes: (H, W) of these, in their order.
    """

    def __init__(
        self,
        num_images: int,
        replacement: Mapping[str, Tensor] | None = None,
        projections: Collection[nn.Module] = (),
    ):
        super().__init__(num_images, replacement)
        self.projections = projections
        self.sizes: list[tuple[int, int]] = []

    def passed(self, module: nn.Module, output: Any) -> None:
        """Notes how large the maps of a projection are."""
        if module not in self.projections:
            return
        for one in output if isinstance(output, list | tuple) else [output]:
            if isinstance(one, Tensor) and one.dim() == 4:
                self.sizes.append((int(one.shape[-2]), int(one.shape[-1])))

    def place(self, name: str, value: Any) -> Any:
        """See :meth:`Leaves.place`; of several outputs the first is the memory.

        Raises:
            NoMapsError: if it is no sequence of as many tokens as the maps have cells.
        """
        if isinstance(value, tuple | list) and value:
            return type(value)((self.place(name, value[0]), *value[1:]))
        cells = [height * width for height, width in self.sizes]
        batch, length = self.num_images, sum(cells)
        shapes: dict[tuple[int, ...], bool] = {(batch, length): True, (length, batch): False}
        if not isinstance(value, Tensor) or value.dim() != 3 or tuple(value.shape[:2]) not in shapes:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise NoMapsError(
                f"an encoder must give ({batch}, {length}, C) or ({length}, {batch}, C), a token for each cell of the "
                f"projected maps; got {got}: explain on an earlier `stage` of {list(STAGES)}"
            )
        images_first = shapes[tuple(value.shape[:2])]
        tokens = value if images_first else value.transpose(0, 1)
        parts = []
        for number, (part, (height, width)) in enumerate(zip(tokens.split(cells, 1), self.sizes, strict=True)):
            leaf = super().place(f"{name}{number}", part.transpose(1, 2).unflatten(2, (height, width)))
            parts.append(leaf.flatten(2).transpose(1, 2))
        with torch.enable_grad():
            joined = torch.cat(parts, 1)
            return joined if images_first else joined.transpose(0, 1)


def stage_modules(model: nn.Module) -> dict[str, list[nn.Module]]:
    """The modules of each stage of :data:`STAGES` that a query detector has; a detector without a transformer has one.

    An encoder is what is called so in a ``transformer``, and projections are the ``neck``, or ``input_proj``.
    """
    named = dict(model.named_modules())
    encoders = [module for name, module in named.items() if f".{name}".endswith(".transformer.encoder")]
    necks = [module for name, module in named.items() if name.split(".")[-1] in ("neck", "input_proj")]
    projections = list(necks[:1])
    if projections and isinstance(projections[0], nn.ModuleList):
        projections = list(projections[0])
    backbone = find_backbone(model)
    stages = {
        "backbone": [] if backbone is None else [backbone],
        "projection": projections,
        "encoder": encoders[:1] if projections else [],
    }
    return {stage: modules for stage, modules in stages.items() if modules}
