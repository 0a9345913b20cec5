"""Which heads treat each RoI on its own, and which batch norms keep to fixed statistics.

A head is trusted by what is in it: every part has to be of a type that is known here, exactly, since a subclass may do
anything. What a head of one's own does between its parts can't be read off them; that is found out by asking for one
RoI alone, see :class:`odam_d2.modeling.pooled.TracedRoIHead`.
"""

import math
from collections.abc import Iterable

import torch
from detectron2.layers import Conv2d, ConvTranspose2d, FrozenBatchNorm2d, NaiveSyncBatchNorm
from detectron2.layers.batch_norm import LayerNorm as ChannelLayerNorm
from detectron2.modeling.backbone.resnet import BasicBlock, BottleneckBlock
from detectron2.modeling.roi_heads import FastRCNNConvFCHead, FastRCNNOutputLayers, MaskRCNNConvUpsampleHead
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops.misc import FrozenBatchNorm2d as TorchvisionFrozenNorm

from ..utils.untyped import UntypedModule

# Heads, predictors and blocks that treat each RoI on its own, as long as their parts do.
INSTANCE_WISE_MODULES: set[type[nn.Module]] = {
    BasicBlock,
    BottleneckBlock,
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    MaskRCNNConvUpsampleHead,
}
# Classes whose authors promise it for whatever is in them.
_PROMISED: set[type[nn.Module]] = set()

# Parts that treat each item of a batch on its own in eval mode.
_KNOWN_PARTS: frozenset[type[nn.Module]] = frozenset(
    {
        nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.Identity, nn.Flatten, nn.Unflatten,
        nn.Conv2d, nn.ConvTranspose2d, nn.Linear, Conv2d, ConvTranspose2d,
        nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish,
        nn.Hardsigmoid, nn.Hardtanh, nn.Sigmoid, nn.LogSigmoid, nn.Tanh, nn.Softplus, nn.Softsign,
        nn.Dropout, nn.Dropout2d, nn.AlphaDropout,
        nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Upsample, nn.PixelShuffle,
        nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm, NaiveSyncBatchNorm, FrozenBatchNorm2d, TorchvisionFrozenNorm,
        nn.GroupNorm, nn.LayerNorm, ChannelLayerNorm, nn.InstanceNorm2d, nn.LocalResponseNorm,
        *([nn.RMSNorm] if hasattr(nn, "RMSNorm") else []),  # since torch 2.4
    }
)  # fmt: skip
# What one item's outputs may differ by when it is asked for alone, relative to the largest: kernels of another size.
ALONE_TOLERANCE = 1e-3
# Forward methods of batch norms that take fixed statistics in eval mode.
_FIXED_NORMS = {_BatchNorm.forward, nn.SyncBatchNorm.forward, NaiveSyncBatchNorm.forward}


def register_instance_wise(cls: type[nn.Module]) -> type[nn.Module]:
    """Class decorator: promises that a box head, mask head or predictor treats each RoI on its own.

    The fast engine needs one backward pass for all RoIs together, which is right only under that promise. A head of
    unknown parts without it is explained by plain autograd.
    """
    _PROMISED.add(cls)
    INSTANCE_WISE_MODULES.add(cls)
    return cls


def unknown_types(modules: Iterable[nn.Module]) -> tuple[list[str], list[str]]:
    """What is not known to treat each RoI on its own in some heads.

    Returns:
        Names of the types that can't be looked into, having no parts; names of those that are made of parts, of which
        only the way from part to part is not known.
    """
    opaque: dict[str, None] = {}
    composed: dict[str, None] = {}
    stack = list(modules)
    while stack:
        module = stack.pop(0)
        if type(module) in _PROMISED:
            continue
        children = list(module.children())
        if type(module) not in _KNOWN_PARTS | INSTANCE_WISE_MODULES:
            (composed if children else opaque)[type(module).__name__] = None
        stack.extend(children)
    return list(opaque), list(composed)


def why_norm_not_fixed(norm: _BatchNorm) -> str | None:
    """In a few words, why a batch norm may take its statistics from the batch; None if it doesn't.

    A norm with a forward pass of its own is asked for two items together and for the first alone.
    """
    if norm.training:
        return "stays in training mode"
    if norm.running_mean is None:
        return "keeps no running ones"
    if "forward" in vars(norm):
        return "has a `forward` of its own"
    if type(norm).forward in _FIXED_NORMS or _says_the_same_alone(norm):
        return None
    return "has a `forward` of its own that takes them from the batch"


@torch.no_grad()
def _says_the_same_alone(norm: UntypedModule) -> bool:
    """Whether a norm makes the same of an item alone and beside a very different one."""
    # A second object, without hooks: a norm may count what it sees, or learn from it.
    apart: UntypedModule = object.__new__(type(norm))
    apart.__dict__.update(norm.__dict__)
    apart._buffers = {name: None if value is None else value.clone() for name, value in norm._buffers.items()}
    said = [_same_alone(apart, norm, dimensions) for dimensions in range(4)]
    return True in said and False not in said


def _same_alone(apart: UntypedModule, norm: UntypedModule, dimensions: int) -> bool | None:
    """Whether an item with so many dimensions behind its channels is told the same alone; None if it is not taken."""
    shape = (2, norm.num_features, *[3] * dimensions)
    two = torch.arange(1.0, 1.0 + math.prod(shape)).sin().view(shape).to(norm.running_mean)
    two[1] = 3 * two[1] + 5
    two = two * norm.running_var.sqrt().view(1, -1, *[1] * dimensions)
    try:
        together, alone = apart.forward(two)[:1], apart.forward(two[:1])
    except Exception:  # somebody's forward pass, which wants another form, or more than one item
        return None
    return bool((together - alone).abs().amax() <= ALONE_TOLERANCE * together.abs().amax())
