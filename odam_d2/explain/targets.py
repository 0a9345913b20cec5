"""Attribute names and the scalars behind them: what y is in dy / dA.

A heat map keeps what *raises* its scalar, so sides point outward: the map of ``left`` shows what pushes the left side
further left. Boxes are decoded, and not clipped to the image.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..structures import COMBINED_PARTS, Predictions
from .adoption import as_traced
from .checks import unwrap_detector

# name -> (D,) scalars of D instances; sides and corners in model-input pixels.
TARGETS: dict[str, Callable[[Predictions], Tensor]] = {
    "score": lambda p: p.scores,
    "logit": lambda p: p.logits,
    "left": lambda p: -p.boxes[:, 0],
    "top": lambda p: -p.boxes[:, 1],
    "right": lambda p: p.boxes[:, 2],
    "bottom": lambda p: p.boxes[:, 3],
    "x1": lambda p: p.boxes[:, 0],
    "y1": lambda p: p.boxes[:, 1],
    "x2": lambda p: p.boxes[:, 2],
    "y2": lambda p: p.boxes[:, 3],
}


# Maps that are put together from others when they are asked for.
COMPOSED = {"combined": COMBINED_PARTS}


def known_attributes(model: nn.Module | None = None) -> list[str]:
    """The attributes that `model` can explain; without a model, those that every detector with boxes and classes can.

    A detector names further ones in ``extra_attributes``, and those that it lacks in ``missing_attributes``.
    """
    model = None if model is None else as_traced(unwrap_detector(model))
    scalars = [*TARGETS, *getattr(model, "extra_attributes", ())]
    scalars = [name for name in scalars if name not in getattr(model, "missing_attributes", ())]
    return [*scalars, *(name for name, parts in COMPOSED.items() if set(parts) <= set(scalars))]


def expand_attributes(attributes: Sequence[str], model: nn.Module) -> tuple[str, ...]:
    """The attributes to compute: composed ones are replaced by their parts, duplicates removed.

    Raises:
        ValueError: if an attribute is unknown, or none is asked for.
    """
    if isinstance(attributes, str):
        attributes = (attributes,)
    require_attributes(attributes, model)
    parts = [part for name in attributes for part in COMPOSED.get(name, (name,))]
    return tuple(dict.fromkeys(parts))


def require_attributes(attributes: Sequence[str], model: nn.Module) -> None:
    """Raises ValueError where an attribute is none of the detector's as it is explained now, or there is none."""
    known = known_attributes(model)
    if not attributes or any(name not in known for name in attributes):
        why = _why_refused(attributes, model)
        raise ValueError(f"`attributes` must be among {known}; got {list(attributes)}{why}: choose from these")


def _why_refused(attributes: Sequence[str], model: nn.Module) -> str:
    """Why a branch that the detector has can't be explained, where one of the attributes is of such a branch."""
    refused = getattr(as_traced(unwrap_detector(model)), "refused_attributes", {})
    reasons = (reason for branch, reason in refused.items() if any(name.startswith(branch) for name in attributes))
    return "".join(f", and {reason}" for reason in reasons)


def target_scalars(predictions: Predictions, attributes: Sequence[str]) -> list[Tensor]:
    """K times (D,): the scalars of the named attributes, with the graph of `predictions`.

    Raises:
        FloatingPointError: if one of them is NaN or inf.
    """
    scalars = [TARGETS[name](predictions) if name in TARGETS else _extra(predictions, name) for name in attributes]
    for name, values in zip(attributes, scalars, strict=True):
        finite = torch.isfinite(values)
        if not bool(finite.all()):
            index = int((~finite).nonzero()[0, 0])
            raise FloatingPointError(f"{name!r} of box {index} must be finite; got {float(values[index].detach())}")
    return scalars


def _extra(predictions: Predictions, name: str) -> Tensor:
    """A scalar that only some families have; a detector names those it has in ``extra_attributes``."""
    value = predictions.extras[name]
    return value if isinstance(value, Tensor) else value()
