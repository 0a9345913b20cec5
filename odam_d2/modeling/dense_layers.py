"""What dense heads are built of: convolutions, norms and ReLUs, read off their modules.

Shape letters: D detections over the batch, N images, O outputs of an anchor, C channels, (H, W) the grid of a level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from detectron2.layers import Conv2d, CycleBatchNormList, FrozenBatchNorm2d, NaiveSyncBatchNorm
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from torchvision.ops.misc import FrozenBatchNorm2d as TorchvisionFrozenNorm

from ..utils.threads import in_this_thread
from ..utils.untyped import UntypedModule

_BATCH_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, NaiveSyncBatchNorm, FrozenBatchNorm2d, TorchvisionFrozenNorm)


@dataclass
class Layer:
    """A convolution, its norm if any, and the ReLU behind them, with what a forward pass left there.

    Attributes:
        conv: keeps the grid: stride 1, odd kernel, half of it as padding. Detectron2's ``Conv2d``, which runs norm and
            ReLU itself, counts by its weights alone.
        norm: None, batch norm in eval mode, a cycle of batch norms, one for each level, or group norm.
        relu: the activation.
        masks: for each level (N, C, H, W) bool, where the ReLU let through.
        inputs: for each level (N, C, H, W), of group norm: what it was given.
        means: for each level (N, C), of group norm: the mean that it took away.
        deviations: for each level (N, C), of group norm: the deviation that it divided by.
        turns: for each level, of a cycle: the norm whose turn it was.
    """

    conv: nn.Conv2d
    norm: UntypedModule | None
    relu: nn.Module
    masks: list[Tensor] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    means: list[Tensor] = field(default_factory=list)
    deviations: list[Tensor] = field(default_factory=list)
    turns: list[UntypedModule] = field(default_factory=list)

    def normalise(self, x: Tensor, level: int) -> Tensor:
        """What the norm makes of an output of the convolution on a level."""
        if not isinstance(self.norm, CycleBatchNormList):
            return x if self.norm is None else self.norm(x)
        x = self.turns[level](x)
        if not hasattr(self.norm, "weight"):
            return x
        return x * self.norm.weight[:, None, None] + self.norm.bias[:, None, None]

    def scale(self, level: int) -> Tensor | None:
        """(N or 1, C): what the norm multiplies by on a level at its frozen statistics; None without a norm.

        With a graph to the norm's weight, where gradients are on.
        """
        if self.norm is None:
            return None
        weight = getattr(self.norm, "weight", None)
        if isinstance(self.norm, nn.GroupNorm):
            deviation = self.deviations[level]
        else:
            norm = self.turns[level] if isinstance(self.norm, CycleBatchNormList) else self.norm
            deviation = (norm.running_var + norm.eps).sqrt()[None]
        return deviation.reciprocal() if weight is None else weight / deviation

    def watch(self) -> list[RemovableHandle]:
        """Hooks that keep masks, statistics and turns of the forward passes of this thread."""
        kept: list[tuple[UntypedModule, Callable]] = []
        if isinstance(self.norm, nn.GroupNorm):
            kept.append((self.norm, self._keep_statistics))
        elif isinstance(self.norm, CycleBatchNormList):
            kept += [(norm, self._keep_turn) for norm in self.norm]
        before = [module.register_forward_pre_hook(in_this_thread(keep)) for module, keep in kept]
        return [*before, self.relu.register_forward_hook(in_this_thread(self._keep_mask))]

    def _keep_mask(self, _relu: nn.Module, _inputs: tuple, output: Tensor) -> None:
        self.masks.append(output > 0)

    def _keep_turn(self, norm: nn.Module, _inputs: tuple) -> None:
        self.turns.append(norm)

    def _keep_statistics(self, norm: UntypedModule, inputs: tuple) -> None:
        given = inputs[0].detach()
        groups = given.flatten(2).reshape(len(given), norm.num_groups, -1)
        # Half precision is not enough for the statistics. torch.var takes seven times as long.
        groups = groups.to(torch.promote_types(groups.dtype, torch.float32))
        mean = groups.mean(2, keepdim=True)
        deviation = ((groups - mean).square_().mean(2) + norm.eps).sqrt()
        size = norm.num_channels // norm.num_groups
        self.inputs.append(given)
        self.means.append(mean[:, :, 0].repeat_interleave(size, 1))
        self.deviations.append(deviation.repeat_interleave(size, 1))


@dataclass
class Output:
    """One of the O scalars that a head gives for an anchor: the channel ``anchor * stride + offset`` of a convolution.

    Attributes:
        conv: the output convolution.
        stride: channels of an anchor.
        offset: the scalar's place among them; None for the class of the detection.
    """

    conv: nn.Conv2d
    stride: int
    offset: int | None

    def channels(self, anchors: Tensor, classes: Tensor) -> Tensor:
        """(D,) int64 channels for (D,) anchors of a cell and classes."""
        return anchors * self.stride + (classes if self.offset is None else self.offset)


@dataclass
class Branch:
    """Layers from the features upward, and the numbers of the outputs on top of them."""

    layers: list[Layer]
    outputs: list[int]


def layers_of(modules: Sequence[UntypedModule]) -> list[Layer] | str:
    """Reads convolution, norm or nothing, ReLU, and so on; a few words where something else stands among them."""
    layers: list[Layer] = []
    pending: list[UntypedModule] = []
    for module in modules:
        if type(module) is nn.ReLU and pending:
            layers.append(Layer(pending[0], pending[1] if len(pending) == 2 else None, module))
            pending = []
        elif not pending and keeps_grid(module, Conv2d) and type(module.activation) is nn.ReLU:
            if module.norm is not None and not _is_norm(module.norm):
                return f"{type(module.norm).__name__} is not known where it stands"
            layers.append(Layer(module, module.norm, module.activation))
        elif not pending and keeps_grid(module) or len(pending) == 1 and _is_norm(module):
            pending.append(module)
        else:
            return f"{type(module).__name__} is not known where it stands"
    return layers if not pending else "the last convolution has no ReLU behind it"


def _is_norm(module: UntypedModule) -> bool:
    if type(module) is CycleBatchNormList:
        return all(type(norm) in _BATCH_NORMS for norm in module)
    return type(module) in (*_BATCH_NORMS, nn.GroupNorm)


def keeps_grid(module: UntypedModule, kind: type[Any] = nn.Conv2d) -> bool:
    """Whether a module is a plain convolution of this kind, with as many cells behind it as before it."""
    if kind is not type(module):
        return False
    size: int = module.kernel_size[0]
    wanted = {"kernel_size": (size, size), "padding": (size // 2, size // 2), "stride": (1, 1), "dilation": (1, 1)}
    plain = size % 2 == 1 and module.groups == 1 and module.padding_mode == "zeros"
    return plain and all(getattr(module, k) == v for k, v in wanted.items())
