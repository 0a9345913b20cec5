"""Cheap checks for NaN and infinity.

Detectron2 drops detections that are not finite, so broken weights would look like missing objects.
"""

from itertools import chain
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..structures import DetectionTrace, HeatMaps
from .weights_state import WeightsState

# Model -> its weights when they were last found finite.
_found_finite: WeakKeyDictionary[nn.Module, WeightsState] = WeakKeyDictionary()


def all_finite(tensor: Tensor) -> bool:
    """Whether a floating-point tensor holds no NaN and no infinity.

    Any NaN or infinity makes the sum not finite, and a sum takes a fifth of the time of checking each number. Each is
    checked only if the sum is not finite, which can also come from large numbers.
    """
    return bool(torch.isfinite(tensor.detach().sum())) or bool(torch.isfinite(tensor).all())


def not_finite_in(model: nn.Module) -> str | None:
    """Name of the first parameter or buffer that holds NaN or infinity; None if all are finite."""
    tensors = chain(model.named_parameters(), model.named_buffers())
    return next((name for name, t in tensors if t.is_floating_point() and not all_finite(t)), None)


def require_finite_weights(model: nn.Module) -> None:
    """Raises FloatingPointError if a weight or buffer is not finite; looks at them only if they changed.

    See :class:`~odam_d2.explain.weights_state.WeightsState` for how changes are recognised.
    """
    now = WeightsState.of(model)
    if now.is_same(_found_finite.get(model)):
        return
    broken = not_finite_in(model)
    if broken:
        raise FloatingPointError(
            f"the model's weights must be finite; got NaN or inf in {broken!r}: check MODEL.WEIGHTS"
        )
    _found_finite[model] = now


def require_finite_trace(trace: DetectionTrace, model: nn.Module) -> None:
    """Raises FloatingPointError if features, weights or scores hold NaN or infinity."""
    for level, feature in trace.features.items():
        if not all_finite(feature):
            finite = torch.isfinite(feature)
            number = int((~finite).flatten(1).any(1).nonzero()[0, 0])
            count = int((~finite[number]).sum())
            raise FloatingPointError(
                f"features of level {level!r} must be finite; image {number} of the batch has {count} NaN or inf "
                f"values and {cause_in(model)}: check MODEL.WEIGHTS and the image"
            )
    require_finite_weights(model)
    for number, found in enumerate(trace.instances):
        if not all_finite(found.scores):
            raise FloatingPointError(
                f"scores of image {number} must be finite; got NaN or inf from finite weights: check their scale"
            )


def require_finite_maps(heatmaps: HeatMaps, number: int) -> None:
    """Raises FloatingPointError if a map of image `number` holds NaN or infinity."""
    if not all_finite(heatmaps.values):
        raise FloatingPointError(
            f"the heat maps of image {number} must be finite; got NaN or inf where features and scores are "
            "finite: look at the scale of the weights in MODEL.WEIGHTS"
        )


def cause_in(model: nn.Module) -> str:
    """What an error message says about the weights behind numbers that are not finite."""
    broken = not_finite_in(model)
    return f"{broken!r} in the model is not finite either" if broken else "all of the model's weights are finite"
