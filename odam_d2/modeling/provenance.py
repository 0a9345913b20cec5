"""The only index bookkeeping: which proposal, RoI and level a detection came from.

Detectron2 computes these indices and throws them away; where it keeps them they point past dropped rows.
"""

from typing import Any

import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from ..structures import DetectionTrace

# The field of Instances that carries proposal rows through score filter, NMS, mask heads and post-processing.
ROW_FIELD = "odam_row"
# The field that carries the number of the level that a dense detector's detection, or a proposal, came from.
LEVEL_FIELD = "odam_level"
# The field that carries boxes in model-input pixels past post-processing.
BOX_FIELD = "odam_box"


def rows_of_kept(boxes: Tensor, scores: Tensor, kept: Tensor) -> Tensor:
    """Proposal rows behind the indices that Fast R-CNN's inference returns.

    ``fast_rcnn_inference_single_image`` drops rows with a non-finite box or score *before* it takes indices, so its
    indices count the finite rows only.

    Args:
        boxes: (R, 4 or K * 4) decoded boxes of all R proposals of one image.
        scores: (R, K + 1) class probabilities.
        kept: (D,) int64, the indices that inference returned.

    Returns:
        (D,) int64 rows among all R proposals.
    """
    finite = torch.isfinite(boxes).all(dim=1) & torch.isfinite(scores).all(dim=1)
    return finite.nonzero()[:, 0][kept]


def image_index_of(counts: list[int], device: torch.device) -> Tensor:
    """(D,) int64: image 0 as often as it has detections, then image 1, and so on."""
    numbers = torch.arange(len(counts), device=device)
    return torch.repeat_interleave(numbers, torch.tensor(counts, dtype=torch.int64, device=device))


def input_and_output_sizes(batched_inputs: list[dict], images) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(h, w) of each image of a batch, as model input without padding and as original."""
    inputs = [(int(h), int(w)) for h, w in images.image_sizes]
    outputs = [
        (int(x.get("height", size[0])), int(x.get("width", size[1])))
        for x, size in zip(batched_inputs, inputs, strict=True)
    ]
    return inputs, outputs


def given_results(
    instances: list[Instances], classes: list[Tensor], output_sizes: list[tuple[int, int]]
) -> list[Instances]:
    """Boxes that the caller gave, which :func:`given_boxes` took, in the form of detections but without scores."""
    results = []
    for number, (given, label, size) in enumerate(zip(instances, classes, output_sizes, strict=True)):
        prefix = given_prefix(given)
        assert prefix is not None  # given_boxes took them
        boxes = _original_boxes(given, prefix, number).to(label.device).clone()
        results.append(Instances(size, pred_boxes=Boxes(boxes), pred_classes=label.clone()))
    return results


def input_frame_boxes(
    results: list[Instances], image_sizes: list[tuple[int, int]], output_sizes: list[tuple[int, int]]
) -> Tensor:
    """(D, 4): the boxes of results in the original frame, brought to model-input pixels."""
    boxes = []
    for result, (in_h, in_w), (out_h, out_w) in zip(results, image_sizes, output_sizes, strict=True):
        boxes.append(result.pred_boxes.tensor * result.pred_boxes.tensor.new_tensor([in_w / out_w, in_h / out_h] * 2))
    return torch.cat(boxes)


def take_field(results: list[Instances], name: str) -> list[Tensor]:
    """Takes one of our fields out of N results: what the stock detector returns does not have it."""
    values = [result.get(name) for result in results]
    for result in results:
        result.remove(name)
    return values


def write_scores(trace: DetectionTrace, scores: Tensor) -> None:
    """Puts (D,) scores into the results of a trace, image by image."""
    for result, score in zip(trace.instances, scores.split([len(r) for r in trace.instances]), strict=True):
        result.scores = score


class UnreachedBoxError(ValueError):
    """A box was given to be explained that no prediction of the detector stands for."""


def given_prefix(given: Instances) -> str | None:
    """Which fields a caller's Instances has its boxes and classes in, ``pred`` or ``gt``; None if it lacks one."""
    return next((p for p in ("pred", "gt") if given.has(f"{p}_boxes") and given.has(f"{p}_classes")), None)


def given_boxes(
    instances: list,
    image_sizes: list[tuple[int, int]],
    output_sizes: list[tuple[int, int]],
    num_classes: int | None,
    device: torch.device,
) -> tuple[list[Tensor], list[Tensor]]:
    """Boxes and classes that the caller wants explained, brought to the model-input frame.

    Args:
        instances: N Detectron2 Instances in the original frame (``image_size`` is the original (h, w)) with
            ``pred_boxes`` and ``pred_classes``, or ``gt_boxes`` and ``gt_classes``: Boxes, or a tensor, an array or
            lists of (R, 4) XYXY pixels of the original.
        image_sizes: N times (h, w) of the model input without padding.
        output_sizes: N times (h, w) of the original image.
        num_classes: how many classes the detector knows; None where only the detector can tell.
        device: where the results go.

    Returns:
        N times (R, 4) float32 XYXY boxes in model-input pixels; N times (R,) int64 classes.

    Raises:
        ValueError: if lengths, fields or shapes don't fit, a box is not finite, empty, reversed or wholly outside the
            image, all of an image are fractions of it, or a class is unknown; the message names image and box.
    """
    if len(instances) != len(image_sizes):
        raise ValueError(
            f"`instances` must hold one Instances for each of the {len(image_sizes)} images; got {len(instances)}: "
            "pass an empty Instances for an image without boxes"
        )
    boxes, classes = [], []
    for number, (given, input_size, (height, width)) in enumerate(
        zip(instances, image_sizes, output_sizes, strict=True)
    ):
        if tuple(given.image_size) != (height, width):
            raise ValueError(
                f"`instances[{number}].image_size` must be the original image's (h, w) = {(height, width)}; got "
                f"{tuple(given.image_size)}: give boxes in the original frame, and `height` and `width` in the input"
            )
        prefix = given_prefix(given)
        if prefix is None:
            raise ValueError(
                f"`instances[{number}]` must have pred_boxes and pred_classes, or gt_boxes and gt_classes; got the "
                f"fields {sorted(given.get_fields())}: set one of these pairs"
            )
        box = _original_boxes(given, prefix, number).to(device)
        label = torch.as_tensor(given.get(f"{prefix}_classes")).to(device, torch.int64)
        _check_boxes(box, label, number, height, width, num_classes)
        scale = box.new_tensor([input_size[1] / width, input_size[0] / height] * 2)
        boxes.append(box * scale)
        classes.append(label)
    return boxes, classes


def _original_boxes(given: Instances, prefix: str, number: int) -> Tensor:
    """(R, 4) float32 XYXY as the caller gave them, in whatever form."""
    name = f"{prefix}_boxes"
    boxes: Any = given.get(name)
    got: str | tuple[int, ...] = type(boxes).__name__
    try:
        if isinstance(boxes, Boxes):
            boxes = boxes.tensor
        elif isinstance(boxes, list | tuple) and boxes and all(isinstance(box, Tensor) for box in boxes):
            boxes = torch.stack(list(boxes))
        elif not isinstance(boxes, Tensor):
            boxes = torch.from_numpy(np.array(boxes, dtype=np.float32))
        boxes, got = boxes.float(), tuple(boxes.shape)
    except (TypeError, ValueError, RuntimeError):
        boxes = None
    if boxes is not None and boxes.shape == (0,):
        return boxes.view(0, 4)
    if boxes is None or boxes.dim() != 2 or boxes.shape[1] != 4:
        raise ValueError(
            f"`{name}` of `instances[{number}]` must be (R, 4) numbers; got {got}: give x1, y1, x2, y2 of each in the "
            "original image's pixels"
        )
    return boxes


def _check_boxes(box: Tensor, label: Tensor, number: int, height: int, width: int, num_classes: int | None) -> None:
    finite = torch.isfinite(box).all(1)
    if len(box) and max(height, width) > 2 and bool(((box >= 0) & (box <= 1)).all()):
        raise ValueError(
            f"boxes of `instances[{number}]` must be in pixels of the original image of {width} x {height}; got only "
            f"fractions such as {[round(v, 4) for v in box[0].tolist()]}: multiply x1 and x2 by the width, y1 and y2 "
            "by the height"
        )
    positive = (box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])
    overlapping = (box[:, 0] < width) & (box[:, 1] < height) & (box[:, 2] > 0) & (box[:, 3] > 0)
    expectations = (
        (finite, "be finite", "drop it"),
        (positive, "have x1 < x2 and y1 < y2", "give corners as XYXY_ABS, or drop it"),
        (overlapping, f"overlap the image of {width} x {height}", "give boxes in the original image's pixels"),
    )
    for good, expected, remedy in expectations:
        if not bool(good.all()):
            index = int((~good).nonzero()[0, 0])
            raise ValueError(
                f"box {index} of `instances[{number}]` must {expected}; got {box[index].tolist()}: {remedy}"
            )
    if num_classes is None:
        return
    known = (label >= 0) & (label < num_classes)
    if not bool(known.all()):
        index = int((~known).nonzero()[0, 0])
        raise ValueError(
            f"class {index} of `instances[{number}]` must be in 0 .. {num_classes - 1}; got {int(label[index])}: "
            "use the detector's contiguous class ids"
        )


def name_anchors(trace: DetectionTrace) -> None:
    """Writes the anchor or location that each given box is explained through into the results.

    Args:
        trace: of a dense detector, with ``references``; its ``instances`` get ``anchor_boxes``, Boxes in the frame of
            the original image, and ``anchor_levels``, (R,) int64.
    """
    counts = [len(result) for result in trace.instances]
    parts = zip(
        trace.instances, trace.references.split(counts), trace.level_index[:, 0].split(counts),
        trace.image_sizes, trace.output_sizes, strict=True,
    )  # fmt: skip
    for result, anchors, levels, (in_h, in_w), (out_h, out_w) in parts:
        scaled = Boxes(anchors.clone())
        scaled.scale(out_w / in_w, out_h / in_h)
        result.anchor_boxes, result.anchor_levels = scaled, levels
