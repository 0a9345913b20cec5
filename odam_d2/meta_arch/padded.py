"""A detector whose images are padded by its mapper: it sees the padding, and tells its results without it."""

from __future__ import annotations

from types import new_class
from typing import Any

import torch
from detectron2.structures import Boxes, Instances, Keypoints
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.augmentations import Padding
from ..explain.adoption import as_traced
from ..modeling.provenance import given_boxes, given_results
from ..structures import DetectionTrace
from ..utils.devices import device_of
from ..utils.untyped import UntypedModule
from .views import same_state

_CLASSES: dict[tuple[type, Padding], type] = {}


def with_padding(model: nn.Module, padding: Padding | None) -> UntypedModule:
    """A view of a detector that pads images as its test mapper does; the detector itself where nothing is padded.

    Detectron2's own detectors take the size of the padded image for that of the original when they tell where boxes
    are. The view gives the detector the same pixels, and brings what it says to the original image.

    Args:
        model: any detector; its state is shared, see :mod:`odam_d2.meta_arch.views`.
        padding: what its mapper adds to images.
    """
    if padding is None:
        return model
    traced = as_traced(model)
    kind = type(traced)
    if (kind, padding) not in _CLASSES:
        members = {"padding": padding, "without_padding": kind, "__module__": kind.__module__}
        bases = (PaddedDetector, kind)
        _CLASSES[kind, padding] = new_class(f"Padded{kind.__name__}", bases, {}, lambda space: space.update(members))
    return same_state(traced, _CLASSES[kind, padding])


class PaddedDetector(nn.Module):
    """A view of a detector in front of which images are padded; made by :func:`with_padding`.

    A detection that lies in the padding alone has a box without area at the image's edge.
    """

    padding: Padding
    without_padding: type[nn.Module]

    def forward(self, batched_inputs: list[dict]) -> list[dict]:
        """What the detector says of padded images, in the frames of the originals."""
        outputs = self._inner().forward(self._padded(batched_inputs))
        pairs = zip(outputs, _contents(batched_inputs), _originals(batched_inputs), strict=True)
        return [{key: _brought_back(value, *sizes) for key, value in one.items()} for one, *sizes in pairs]

    def trace(self, batched_inputs: list[dict], instances: list[Instances] | None = None) -> DetectionTrace:
        """The detector's own trace of padded images; its results are in the frames of the originals.

        See the ``trace`` of the detector. Pixels of the model input count from the same corner with padding and
        without, so that all else in the trace is as it would be.
        """
        contents, originals, given = _contents(batched_inputs), _originals(batched_inputs), None
        device = device_of(self)
        if instances is not None:
            padded_size = (self.padding.height, self.padding.width)
            boxes, classes = given_boxes(instances, contents, originals, None, device)
            given = [
                Instances(padded_size, pred_boxes=Boxes(box), pred_classes=label) for box, label in zip(boxes, classes)
            ]
        trace = self._inner().trace(self._padded(batched_inputs), given)
        trace.instances = [
            _brought_back(one, *sizes) for one, *sizes in zip(trace.instances, contents, originals, strict=True)
        ]
        if instances is not None:
            for found, exact in zip(trace.instances, given_results(instances, classes, originals), strict=True):
                found.pred_boxes = exact.pred_boxes
        trace.others = [
            {key: _brought_back(value, *sizes) for key, value in one.items()}
            for one, *sizes in zip(trace.others, contents, originals)
        ]
        trace.image_sizes, trace.output_sizes = contents, originals
        return trace

    def candidate_trace(self, batched_inputs: list[dict]) -> DetectionTrace:
        """The detector's own trace of its candidates, whose ``instances`` are in the frame of the model input."""
        trace = self._inner().candidate_trace(self._padded(batched_inputs))
        trace.image_sizes = _contents(batched_inputs)
        trace.instances = [
            Instances(size, **one.get_fields()) for one, size in zip(trace.instances, trace.image_sizes, strict=True)
        ]
        return trace

    def candidates(self, batched_inputs: list[dict]) -> Any:
        """The detector's own candidates, in the frame of the model input."""
        return self._inner().candidates(self._padded(batched_inputs))

    def in_parts(self, batched_inputs: list[dict]) -> tuple[Any, list[dict]]:
        """The detector without the padding in front of it, and the padded images."""
        return self._inner(), self._padded(batched_inputs)

    def brought_back(self, results: list[Instances], batched_inputs: list[dict]) -> list[tuple[Instances, tuple]]:
        """What the detector found in N padded images, in the frame of each original, and (h, w) of its model input."""
        parts = zip(results, _contents(batched_inputs), _originals(batched_inputs), strict=True)
        return [(_instances_brought_back(found, *sizes), sizes[0]) for found, *sizes in parts]

    def _inner(self) -> Any:
        return same_state(self, self.without_padding)

    def _padded(self, batched_inputs: list[dict]) -> list[dict]:
        padding, padded = self.padding, []
        for entry in batched_inputs:
            image = entry["image"]
            added = (0, padding.width - image.shape[-1], 0, padding.height - image.shape[-2])
            if min(added) < 0:
                raise ValueError(
                    f"`image` must fit into the {padding.width} x {padding.height} pixels that the mapper pads images "
                    f"to; got {image.shape[-1]} x {image.shape[-2]}: resize it as the mapper does"
                )
            image = F.pad(image, added, value=padding.value)
            padded.append({**entry, "image": image, "height": padding.height, "width": padding.width})
        return padded


def _contents(batched_inputs: list[dict]) -> list[tuple[int, int]]:
    return [(int(entry["image"].shape[-2]), int(entry["image"].shape[-1])) for entry in batched_inputs]


def _originals(batched_inputs: list[dict]) -> list[tuple[int, int]]:
    sizes = zip(batched_inputs, _contents(batched_inputs))
    return [(int(entry.get("height", h)), int(entry.get("width", w))) for entry, (h, w) in sizes]


def _brought_back(value: Any, content: tuple[int, int], original: tuple[int, int]) -> Any:
    """What a detector said of a padded image, in the frame of the original.

    Args:
        value: Instances, a (c, h, w) map of scores, or a panoptic segmentation (ids, segments).
        content: (h, w) of the model input without padding.
        original: (h, w).
    """
    if isinstance(value, Instances):
        return _instances_brought_back(value, content, original)
    if isinstance(value, Tensor) and value.dim() == 3:
        return F.interpolate(value[None, :, : content[0], : content[1]], original, mode="bilinear")[0]
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], Tensor):
        ids = value[0][None, None, : content[0], : content[1]]
        return F.interpolate(ids.float(), original, mode="nearest")[0, 0].to(ids.dtype), value[1]
    return value


def _instances_brought_back(found: Instances, content: tuple[int, int], original: tuple[int, int]) -> Instances:
    scale_y, scale_x = original[0] / content[0], original[1] / content[1]
    fields: dict[str, Any] = {}
    for name, value in found.get_fields().items():
        if type(value) is Boxes:
            value = Boxes(value.tensor * value.tensor.new_tensor([scale_x, scale_y] * 2))
            if name in ("pred_boxes", "proposal_boxes"):
                value.clip(original)
        elif name == "pred_masks" and isinstance(value, Tensor):
            value = _masks_brought_back(value, content, original)
        elif name == "pred_keypoints":
            points = value.tensor if isinstance(value, Keypoints) else value
            value = points * points.new_tensor([scale_x, scale_y, 1.0])
        fields[name] = value
    return Instances(original, **fields)


def _masks_brought_back(masks: Tensor, content: tuple[int, int], original: tuple[int, int]) -> Tensor:
    if len(masks) == 0:
        return masks.new_zeros(0, *original)
    cut = masks[:, None, : content[0], : content[1]].float()
    return torch.ge(F.interpolate(cut, original, mode="bilinear")[:, 0], 0.5).to(masks.dtype)
