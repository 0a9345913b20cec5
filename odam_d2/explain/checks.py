"""Checks of the model and of a caller's tensors; known wrappers are taken off, anything else is named in an error."""

from collections.abc import Mapping
from itertools import chain
from typing import Any

from detectron2.modeling import GeneralizedRCNNWithTTA
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn


def unwrap_detector(model: Any) -> Any:
    """The detector inside wrappers that don't change its results.

    Args:
        model: a detector, or a ``DataParallel``, a ``DistributedDataParallel``, what ``torch.compile`` gives, or a
            ``DefaultPredictor`` of one.

    Raises:
        TypeError: if it is something else that holds a detector, such as a ``GeneralizedRCNNWithTTA``, which merges
            a detector's results on several images.
    """
    while (inner := _held(model)) is not None:
        model = inner
    if isinstance(model, GeneralizedRCNNWithTTA) or hasattr(model, "tta_mapper"):
        raise TypeError(
            f"`model` must be a detector, of which one forward pass is explained; got {type(model).__name__}, which "
            "merges several passes: hand over its `.model`"
        )
    if not _keeps_trace(model) and _keeps_trace(getattr(model, "model", None)):
        raise TypeError(
            f"`model` must be a detector; got {type(model).__name__}, which holds one: hand over its `.model`"
        )
    return model


def require_ordinary_tensors(model: nn.Module) -> None:
    """Raises ValueError where a parameter or buffer was made under ``inference_mode``."""
    tensors = chain(model.named_parameters(), model.named_buffers())
    found = [name for name, tensor in tensors if tensor.is_inference()]
    if found:
        raise ValueError(
            "`model` must be built outside torch.inference_mode(), since what is made inside enters no graph and can't "
            f"be changed; got {len(found)} inference tensors, the first of them {found[0]!r}: build it outside, or "
            "give its state_dict() to load_state_dict() of a model that was"
        )


def without_inference_tensors(value: Any) -> Any:
    """A caller's arguments, with copies in place of tensors made under ``inference_mode``.

    Args:
        value: tensors, Boxes and Instances in lists, tuples and mappings; anything else is returned as it is.

    Returns:
        The same object if it holds no such tensor. Call this outside ``inference_mode``.
    """
    if isinstance(value, Tensor):
        return value.clone() if value.is_inference() else value
    if isinstance(value, Boxes):
        tensor = without_inference_tensors(value.tensor)
        return value if tensor is value.tensor else Boxes(tensor)
    if isinstance(value, Instances):
        fields = value.get_fields()
        plain = without_inference_tensors(fields)
        return value if plain is fields else Instances(value.image_size, **plain)
    if isinstance(value, Mapping):
        plain = {key: without_inference_tensors(one) for key, one in value.items()}
        return value if all(plain[key] is one for key, one in value.items()) else plain
    if type(value) in (list, tuple):
        plain = type(value)(without_inference_tensors(one) for one in value)
        return value if all(one is other for one, other in zip(plain, value, strict=True)) else plain
    return value


def _held(model: Any) -> Any:
    """The model inside a wrapper that changes nothing; None if `model` is no such wrapper."""
    if isinstance(model, nn.parallel.DataParallel | nn.parallel.DistributedDataParallel):
        return model.module
    if isinstance(model, nn.Module):
        # What torch.compile returns; it forwards every other attribute.
        return model._modules.get("_orig_mod")
    # Imported here, since it brings data loaders, evaluators and trainers along.
    from detectron2.engine import DefaultPredictor

    return model.model if isinstance(model, DefaultPredictor) else None


def _keeps_trace(model: Any) -> bool:
    return callable(getattr(model, "trace", None))
