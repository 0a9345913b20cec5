"""What somebody's detector gives, in whatever form: its detections, and what it gives beside them.

Shape letters: N images, R detections of an image.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from detectron2.structures import Boxes, Instances, RotatedBoxes
from torch import Tensor

from .rotated import rotated_message

# What says something of pixels, not of objects.
_OF_PIXELS = {"sem_seg", "panoptic_seg"}


def read_results(outputs: Any, num_images: int) -> list[Instances]:
    """N Instances with ``pred_boxes``, ``scores`` and ``pred_classes`` from what a detector gave, graph and all.

    Args:
        outputs: a list of N dicts with ``instances`` or ``proposals``, as Detectron2's detectors give them; or a list
            of N Instances; or a dict that holds one of these, or Instances where there is one image; or a tuple that
            begins with any of these.
        num_images: N.

    Raises:
        TypeError: if it is nothing of this, or boxes are rotated.
    """
    return [_as_detections(found) for found, _ in _split(outputs, num_images)]


def read_others(outputs: Any, num_images: int) -> list[dict[str, Any]]:
    """N dicts of what a detector gave beside its detections, without a graph; see :func:`read_results`."""
    return [without_graph(others) for _, others in _split(outputs, num_images)]


def without_graph(value: Any) -> Any:
    """The same results without a graph; boxes, which post-processing may change in place, have memory of their own.

    Args:
        value: tensors, Detectron2's structures, and anybody's objects that hold tensors, in lists, tuples and mappings.
    """
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Boxes):
        return Boxes(value.tensor.detach().clone())
    if isinstance(value, Instances):
        return Instances(value.image_size, **{name: without_graph(one) for name, one in value.get_fields().items()})
    if isinstance(value, Mapping):
        return {key: without_graph(one) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(without_graph(one) for one in value)
    held = {name: one for name, one in getattr(value, "__dict__", {}).items() if isinstance(one, Tensor)}
    if not any(one.requires_grad for one in held.values()):
        return value
    same = copy.copy(value)
    vars(same).update({name: one.detach() for name, one in held.items()})
    return same


def _split(outputs: Any, num_images: int) -> list[tuple[Instances, dict[str, Any]]]:
    for form in (outputs, outputs[0] if isinstance(outputs, tuple) and outputs else None):
        found = _by_image(form, num_images)
        if found is not None:
            return found
    if (
        isinstance(outputs, list)
        and outputs
        and all(isinstance(one, Mapping) and set(one) <= _OF_PIXELS for one in outputs)
    ):
        raise TypeError(
            "the detector must find objects, each with a box and a score, to be explained; got only "
            f"{sorted(set().union(*outputs))}, what each pixel belongs to: take a detector of objects"
        )
    raise TypeError(
        f"the detector must give a list of {num_images} dicts with `instances`, as Detectron2's do, or Instances of "
        f"each image; got {_told(outputs)}: wrap it in a CallableDetector, which says where boxes and scores are"
    )


def _by_image(outputs: Any, num_images: int) -> list[tuple[Instances, dict[str, Any]]] | None:
    if isinstance(outputs, Instances):
        outputs = [outputs]
    if isinstance(outputs, list | tuple):
        pairs = [pair for pair in (_of_image(one) for one in outputs) if pair is not None]
        return pairs if len(pairs) == len(outputs) == num_images else None
    if not isinstance(outputs, Mapping):
        return None
    for key, value in outputs.items():
        found = _by_image(value, num_images) if not isinstance(value, Mapping) else None
        if found is not None:
            return [
                (
                    instances,
                    others | {name: _part(one, number, num_images) for name, one in outputs.items() if name != key},
                )
                for number, (instances, others) in enumerate(found)
            ]
    return None


def _of_image(one: Any) -> tuple[Instances, dict[str, Any]] | None:
    if isinstance(one, Instances):
        return one, {}
    if not isinstance(one, Mapping):
        return None
    known = [key for key in ("instances", "proposals") if isinstance(one.get(key), Instances)]
    keys = known or [key for key, value in one.items() if isinstance(value, Instances)]
    if not keys:
        return None
    return one[keys[0]], {key: value for key, value in one.items() if key != keys[0]}


def _part(value: Any, number: int, num_images: int) -> Any:
    """What of an output for all images belongs to one of them."""
    return value[number] if isinstance(value, list | tuple) and len(value) == num_images else value


def _told(outputs: Any) -> str:
    if isinstance(outputs, Mapping):
        return f"a dict with {sorted(map(str, outputs))}"
    if isinstance(outputs, list | tuple):
        kinds = sorted({type(one).__name__ for one in outputs})
        return f"{type(outputs).__name__} of {len(outputs)} {' and '.join(kinds) or 'items'}"
    return type(outputs).__name__


def _as_detections(found: Instances) -> Instances:
    names = [name for name in ("pred_boxes", "proposal_boxes") if found.has(name)]
    if not names or not any(found.has(name) for name in ("scores", "objectness_logits")):
        raise TypeError(
            f"the detector's Instances must have `pred_boxes` and `scores`; got {sorted(found.get_fields())}: wrap it "
            "in a CallableDetector, which says where boxes and scores are"
        )
    boxes = found.get(names[0])
    if isinstance(boxes, RotatedBoxes):
        raise TypeError(rotated_message("pred_boxes", "RotatedBoxes"))
    read = Instances(found.image_size, **found.get_fields())
    # A tensor, where somebody leaves Detectron2's class out.
    read.pred_boxes = Boxes(boxes) if isinstance(boxes, Tensor) else boxes
    if not read.has("scores"):
        read.scores = found.objectness_logits.sigmoid()
    if not read.has("pred_classes"):
        read.pred_classes = torch.zeros_like(read.scores, dtype=torch.int64)
    return read
