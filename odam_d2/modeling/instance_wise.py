"""Which heads treat each RoI on its own, and which batch norms keep to fixed statistics.

A head is trusted by what is in it: every part has to be of a type that is known here, exactly, since a subclass may do
anything. What a head of one's own does between its parts can't be read off them; that is found out by asking for one
RoI alone, see :class:`odam_d2.modeling.pooled.TracedRoIHead`.
"""

from collections.abc import Iterable

from detectron2.layers import Conv2d, ConvTranspose2d, FrozenBatchNorm2d, NaiveSyncBatchNorm
from detectron2.layers.batch_norm import LayerNorm as ChannelLayerNorm
from detectron2.modeling.backbone.resnet import BasicBlock, BottleneckBlock
from detectron2.modeling.roi_heads import FastRCNNConvFCHead, FastRCNNOutputLayers, MaskRCNNConvUpsampleHead
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

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
        nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Hardsigmoid,
        nn.Sigmoid, nn.Tanh, nn.Softplus,
        nn.Dropout, nn.Dropout2d, nn.AlphaDropout,
        nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Upsample, nn.PixelShuffle,
        nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm, NaiveSyncBatchNorm, FrozenBatchNorm2d,
        nn.GroupNorm, nn.LayerNorm, ChannelLayerNorm, nn.InstanceNorm2d,
    }
)  # fmt: skip
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
    """In a few words, why a batch norm may take its statistics from the batch; None if it doesn't."""
    if "forward" in vars(norm) or type(norm).forward not in _FIXED_NORMS:
        return "has a `forward` of its own"
    if norm.training:
        return "stays in training mode"
    return "keeps no running ones" if norm.running_mean is None else None
