"""Random weights that behave: for tests and timings where no trained ones can be had."""

import torch
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import GeneralizedRCNN

from .untyped import UntypedModule


@torch.no_grad()
def calibrate_frozen_norms(model: UntypedModule, batched_inputs: list[dict]) -> None:
    """Sets every frozen batch norm of a detector's backbone to the statistics of some images, in place.

    A deep residual net with random weights and identity norms overflows; calibrated, its features have about unit
    variance, and detections are finite.

    Args:
        model: a detector with ``backbone``, ``pixel_mean`` and ``pixel_std``; without frozen norms of Detectron2's it
            stays as it is.
        batched_inputs: images as the detector takes them.
    """

    def adopt(norm, inputs):
        norm.running_mean.copy_(inputs[0].mean((0, 2, 3)))
        norm.running_var.copy_(inputs[0].var((0, 2, 3)) + 1e-3)

    norms = [m for m in model.modules() if isinstance(m, FrozenBatchNorm2d)]
    if not norms:
        return
    handles = [norm.register_forward_pre_hook(adopt) for norm in norms]
    try:
        model.backbone(GeneralizedRCNN.preprocess_image(model, batched_inputs).tensor)  # not all have one
    finally:
        for handle in handles:
            handle.remove()
