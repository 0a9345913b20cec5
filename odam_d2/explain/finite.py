"""Cheap checks for NaN and infinity.

Detectron2 drops detections that are not finite, so broken weights would look like missing objects.
"""

from itertools import chain
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..structures import DetectionTrace, HeatMaps

# Model -> its tensors when they were last found finite, each with its version and its address.
_found_finite: WeakKeyDictionary[nn.Module, list[tuple[Tensor, int, int]]] = WeakKeyDictionary()


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

    Changes are recognised by PyTorch's version counters and by the tensors' addresses. Writing into ``weight.data``
    changes neither and goes unnoticed.
    """
    now = _state(model)
    before = _found_finite.get(model)
    if now is not None and before is not None and len(now) == len(before):
        pairs = zip(now, before, strict=True)
        if all(one[0] is other[0] and one[1:] == other[1:] for one, other in pairs):
            return
    broken = not_finite_in(model)
    if broken:
        raise FloatingPointError(
            f"the model's weights must be finite; got NaN or inf in {broken!r}: check MODEL.WEIGHTS"
        )
    if now is not None:
        _found_finite[model] = now


def _state(model: nn.Module) -> list[tuple[Tensor, int, int]] | None:
    """The model's tensors with their versions and addresses; None if they keep no versions."""
    tensors = [*model.parameters(), *model.buffers()]
    if any(tensor.is_inference() for tensor in tensors):
        return None
    return [(tensor, tensor._version, tensor.data_ptr()) for tensor in tensors]


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
