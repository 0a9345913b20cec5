"""A copy of a detector that says the same, to rounding, in less time; for whoever asks it many times over."""

import copy
from typing import TypeVar

import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import ROIHeads
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ..utils.devices import device_of
from .lookup_pooler import LookupROIPooler

Model = TypeVar("Model", bound=nn.Module)
# Exactly these: a subclass may do anything.
_FIXED_NORMS = (FrozenBatchNorm2d, nn.BatchNorm2d)


def inference_copy(model: Model, boxes_only: bool = False) -> Model:
    """A copy of a detector that gives the same detections to rounding, 1.1 to 1.4 times as quickly on a CPU.

    Convolutions have channels last and take batch norms with fixed statistics into their weights; on a CPU RoIAlign is
    done by :class:`~odam_d2.modeling.lookup_pooler.LookupROIPooler`. What is not known stays as it is. For being asked
    alone: it can't be trained, nor explained by the fast engine of two-stage detectors. It knows nothing of what
    becomes of `model` afterwards.

    Args:
        model: of any kind, in eval mode; stays as it is.
        boxes_only: leave out what RoI heads find besides boxes and classes: masks and keypoints.

    Raises:
        RuntimeError: if the detector is in training mode.
    """
    if model.training:
        raise RuntimeError("`model` must be in eval mode to be copied; got training mode: call model.eval()")
    quick = copy.deepcopy(model).requires_grad_(False)
    for module in list(quick.modules()):
        if isinstance(module, Conv2d) and type(module.norm) in _FIXED_NORMS:
            _fold_norm(module)
        if boxes_only and isinstance(module, ROIHeads):
            # Not every kind of heads knows both.
            for branch in {"mask_on", "keypoint_on"} & vars(module).keys():
                setattr(module, branch, False)
        for name, child in list(module.named_children()):
            if isinstance(child, ROIPooler) and device_of(quick).type == "cpu":
                setattr(module, name, LookupROIPooler.of(child) or child)
    return quick.eval().to(memory_format=torch.channels_last)


def _fold_norm(convolution: Conv2d) -> None:
    """Takes the norm behind a convolution into its weights."""
    norm = convolution.norm
    if norm.running_mean is None:
        return
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    convolution.norm = None
