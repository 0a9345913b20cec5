"""Random weights with which any of Detectron2's detectors finds something; zoo.py and tests share them."""

from collections.abc import Callable
from typing import Any

import torch
from detectron2.layers import FrozenBatchNorm2d
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

# Mean and deviation of what comes out of output layers, by their names in Detectron2. Linear layers stand in RoI heads,
# whose classes share a softmax; convolutions give one logit or delta a cell.
_OUTPUTS: dict[str, tuple[float, float]] = {
    "cls_score": (-2.0, 1.5),
    "bbox_pred": (0.5, 0.5),
    "objectness_logits": (0.0, 2.0),
    "anchor_deltas": (0.0, 0.3),
    "ctrness": (1.0, 1.0),
    "predictor": (0.0, 2.0),
    "score_lowres": (0.0, 2.0),
}
_SOFTMAX = (0.0, 3.0)


@torch.no_grad()
def calibrate(model: nn.Module, batched_inputs: list[dict]) -> None:
    """Sets norms to the statistics of some images, and scales output layers, in one pass of the detector's inference.

    A deep net with random weights overflows, or says the same everywhere; afterwards features have about unit variance,
    and scores and boxes differ from place to place.

    Args:
        model: a detector in eval mode.
        batched_inputs: what it takes.
    """
    done: set[nn.Module] = set()
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, FrozenBatchNorm2d | _NormBase) and module.running_mean is not None:
            handles.append(module.register_forward_pre_hook(_adopt_statistics(done)))
        leaf = name.rpartition(".")[2]
        if leaf in _OUTPUTS and isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            softmax = leaf == "cls_score" and isinstance(module, nn.Linear)
            handles.append(module.register_forward_hook(_scale(done, *(_SOFTMAX if softmax else _OUTPUTS[leaf]))))
    try:
        model(batched_inputs)
    finally:
        for handle in handles:
            handle.remove()


def _adopt_statistics(done: set[nn.Module]) -> Callable[[Any, Any], None]:
    def adopt(norm: Any, inputs: tuple) -> None:
        values = inputs[0].transpose(0, 1).flatten(1)
        if norm not in done and values.shape[1] > 1:
            norm.running_mean.copy_(values.mean(1))
            norm.running_var.copy_(values.var(1) + 1e-3)
            done.add(norm)

    return adopt


def _scale(done: set[nn.Module], mean: float, deviation: float) -> Callable[[Any, Any, torch.Tensor], Any]:
    def scale(layer: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor | None:
        if layer in done or output.numel() < 2:
            return None
        done.add(layer)
        bias = layer.bias if layer.bias is not None else output.new_zeros(())
        shape = (-1, *[1] * (output.dim() - 2))
        without = output - bias.reshape(shape)
        factor = deviation / without.std().clamp(min=1e-12)
        layer.weight.mul_(factor)
        # One number for each channel, which its own mean does not move: classes and sides stay different.
        shift = mean - factor * without.mean()
        if layer.bias is not None:
            layer.bias.copy_(shift.expand_as(layer.bias))
            return factor * without + shift
        return factor * without

    return scale
