"""One-stage detectors in AdelaiDet's manner: FCOS as a proposal generator, with or without masks behind it.

Shape letters: D detections over the batch, N images, P locations of all levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from detectron2.structures import Boxes, ImageList, Instances, pairwise_iou
from torch import Tensor, nn

from ..modeling.leaves import find_backbone
from ..modeling.location_head import DISTANCES, PARTS, TracedLocationHead
from ..modeling.provenance import (
    UnreachedBoxError,
    given_boxes,
    given_results,
    image_index_of,
    input_frame_boxes,
    name_anchors,
    write_scores,
)
from ..modeling.recorded import UnmatchedError, match_rows
from ..modeling.results import read_others, read_results
from ..structures import DetectionTrace
from ..utils.threads import in_this_thread
from ..utils.untyped import UntypedModule


def why_no_locations(model: UntypedModule) -> str | None:
    """In a few words, why a detector has no head like that of AdelaiDet's FCOS."""
    head = getattr(getattr(model, "proposal_generator", None), "fcos_head", None)
    if head is None or find_backbone(model) is None:
        return f"{type(model).__name__} has no FCOS among its parts"
    missing = [name for name in PARTS if not isinstance(getattr(head, name, None), nn.Module)]
    return f"{type(head).__name__} has no {missing}" if missing else None


class LocationDetector:
    """Runs a detector's own inference, records its FCOS head meanwhile, and finds the location of each detection.

    What comes behind the head, masks for one, stays as it is.

    Args:
        model: the detector; see :func:`why_no_locations`.
    """

    extra_attributes = ("centerness",)

    def __init__(self, model: UntypedModule):
        self.model = model
        self.backbone: UntypedModule = find_backbone(model)

    @torch.no_grad()
    def trace(self, batched_inputs: list[dict], instances: list[Instances] | None = None) -> DetectionTrace:
        """Detects, or finds the locations of the boxes that the caller gives, and keeps what an explanation needs.

        Args:
            batched_inputs: what the detector takes.
            instances: boxes and classes to explain in place of the detections, in the original frame. Each is explained
                through the location inside it whose predicted box overlaps it most; results name it in ``anchor_boxes``
                (a cell around it, original frame) and ``anchor_levels``.

        Raises:
            UnmatchedError: if the detections are not what the head said at single locations.
            ValueError: if given boxes are not usable; UnreachedBoxError, which is one, if no location fits one.
            RuntimeError: if the detector is in training mode.
        """
        if self.model.training:
            raise RuntimeError("the detector must be in eval mode to be traced; got training mode: call model.eval()")
        now = self.run(batched_inputs)
        head = now.head
        if instances is None:
            trace = self.trace_of(now, now.results, now.rows)
        else:
            output_sizes = [(int(h), int(w)) for h, w in (one.image_size for one in now.results)]
            given, labels = given_boxes(instances, now.image_sizes, output_sizes, head.num_classes, now.boxes.device)
            everywhere = torch.cat(now.centres)
            rows = [_fitting(*pair, everywhere, k) for k, pair in enumerate(zip(given, now.boxes, strict=True))]
            trace = self.trace_of(now, given_results(instances, labels, output_sizes), rows)
            write_scores(trace, head.decode(head.gather(head.maps, trace), trace).scores)
            name_anchors(trace)
        trace.others = read_others(now.outputs, len(batched_inputs))
        return trace

    def trace_of(self, now: LocationPass, results: list[Instances], rows: list[Tensor]) -> DetectionTrace:
        """The trace of some of what the head says, detected or not.

        Args:
            now: the run.
            results: N Instances, in the original frame or in that of the model input.
            rows: N times (D,) int64, the location of each among all P.
        """
        head, images, centres, boxes, image_sizes = now.head, now.images, now.centres, now.boxes, now.image_sizes
        names = _names(head.levels, now.features)
        output_sizes = [(int(h), int(w)) for h, w in (one.image_size for one in results)]
        best, counts = torch.cat(rows), torch.tensor([len(one) for one in centres], device=boxes.device)
        levels = torch.bucketize(best, counts.cumsum(0), right=True)
        half = best.new_tensor(head.strides, dtype=boxes.dtype)[levels][:, None] / 2
        at = torch.cat(centres)[best]
        return DetectionTrace(
            instances=results,
            features=dict(zip(names, head.levels, strict=True)),
            strides=dict(zip(names, head.strides, strict=True)),
            image_index=image_index_of([len(row) for row in rows], boxes.device),
            level_index=levels[:, None],
            references=torch.cat([at - half, at + half], 1),
            boxes=input_frame_boxes(results, image_sizes, output_sizes),
            rows=best - (counts.cumsum(0) - counts)[levels],
            classes=torch.cat([result.pred_classes for result in results]),
            level_names=names,
            image_sizes=image_sizes,
            padded_size=(int(images.tensor.shape[-2]), int(images.tensor.shape[-1])),
            output_sizes=output_sizes,
            head=head,
            compute_features=partial(self.backbone, images.tensor),
        )

    @torch.no_grad()
    def candidates(self, batched_inputs: list[dict]) -> list[tuple[Tensor, Tensor]]:
        """What the head says at all P locations: for each image (P, 4) XYXY boxes and (P, K) scores."""
        now = self.run(batched_inputs)
        return list(zip(now.boxes, now.scores, strict=True))

    @torch.no_grad()
    def run(self, batched_inputs: list[dict]) -> LocationPass:
        """Runs the detector, and finds its detections among what the head says.

        Raises:
            UnmatchedError: see :meth:`trace`.
        """
        generator = self.model.proposal_generator
        head = TracedLocationHead(generator.fcos_head, generator.fcos_head.cls_logits.out_channels)
        outputs, images, features = self._recorded(head, batched_inputs)
        head.settle()
        image_sizes = [(int(h), int(w)) for h, w in images.image_sizes]
        # Of one that doesn't say them: of the padded images, as their backbone's maps cover these.
        height = int(images.tensor.shape[-2])
        strides = getattr(generator, "fpn_strides", None) or [height / one.shape[-2] for one in head.levels]
        head.strides = [float(stride) for stride in strides]
        centres = [_centres(one, stride) for one, stride in zip(head.levels, head.strides, strict=True)]
        results = read_results(outputs, len(batched_inputs))
        rows, boxes, scores = _find(head, centres, results, image_sizes)
        return LocationPass(head, images, features, outputs, results, image_sizes, centres, rows, boxes, scores)

    def _recorded(self, head: TracedLocationHead, batched_inputs: list[dict]) -> tuple[Any, ImageList, Any]:
        """What the detector gives, the images that its FCOS was given, and what its backbone gave."""
        seen: dict[str, Any] = {}
        keep_features = in_this_thread(lambda _module, _inputs, output: seen.update(features=output))
        keep_images = in_this_thread(lambda _module, inputs: seen.update(images=inputs[0] if inputs else None))
        handles = [
            self.backbone.register_forward_hook(keep_features),
            self.model.proposal_generator.register_forward_pre_hook(keep_images),
        ]
        try:
            with head.recording():
                outputs = self.model(batched_inputs)
        finally:
            for handle in handles:
                handle.remove()
        if not isinstance(seen.get("images"), ImageList):
            raise UnmatchedError("its FCOS is not given images")
        return outputs, seen["images"], seen.get("features")


@dataclass(frozen=True)
class LocationPass:
    """A detector's own pass.

    Attributes:
        head: what the FCOS head was given and said.
        images, features: what the head's owner was given, and what the backbone gave.
        outputs, results: what the detector gave, and the detections in it.
        image_sizes: N times (h, w) of the model input without padding.
        centres: for each level (H * W, 2) locations in model-input pixels.
        rows: N times (D,) int64, the location of each detection among all P.
        boxes, scores: (N, P, 4) and (N, P, K) of all locations.
    """

    head: TracedLocationHead
    images: ImageList
    features: Any
    outputs: Any
    results: list[Instances]
    image_sizes: list[tuple[int, int]]
    centres: list[Tensor]
    rows: list[Tensor]
    boxes: Tensor
    scores: Tensor


def _names(levels: list[Tensor], features: Any) -> tuple[str, ...]:
    known = {id(level): name for name, level in features.items()} if isinstance(features, Mapping) else {}
    names = tuple(known.get(id(level), "") for level in levels)
    if "" in names:
        raise UnmatchedError("its FCOS reads other maps than the backbone's")
    return names


def _centres(level: Tensor, stride: float) -> Tensor:
    """(H * W, 2) locations of a level, row by row: the middle of each cell, in whole pixels."""
    height, width = level.shape[-2:]
    y, x = (torch.arange(n, device=level.device, dtype=level.dtype) * stride + stride // 2 for n in (height, width))
    return torch.stack([x.repeat(height), y.repeat_interleave(width)], 1)


def _find(
    head: TracedLocationHead, centres: list[Tensor], results: list[Instances], image_sizes: list[tuple[int, int]]
) -> tuple[list[Tensor], Tensor, Tensor]:
    """The location of each detection, N times (D,) int64 among all P; (N, P, 4) boxes and (N, P, K) scores of all."""
    problem: Any = None
    for name in DISTANCES:
        head.distances = name
        boxes, scores = head.all_locations(centres)
        parts = zip(results, boxes, scores, image_sizes, strict=True)
        try:
            return [match_rows(found, box[:, None], score, size) for found, box, score, size in parts], boxes, scores
        except UnmatchedError as error:
            problem = problem or error
    raise problem


def _fitting(given: Tensor, boxes: Tensor, centres: Tensor, number: int) -> Tensor:
    """(r,) int64: the location inside each of (r, 4) given boxes whose predicted box, of (P, 4), overlaps it most."""
    inside = (centres > given[:, None, :2]).all(2) & (centres < given[:, None, 2:]).all(2)
    overlap, best = (pairwise_iou(Boxes(given), Boxes(boxes)) * inside).max(1)
    none = (overlap <= 0).nonzero()[:, 0]
    if len(none):
        index = int(none[0])
        raise UnreachedBoxError(
            f"box {index} of `instances[{number}]` must fit a location of the detector; got "
            f"{[round(v, 1) for v in given[index].tolist()]} in model-input pixels, in which none of {len(boxes)} "
            "locations predicts a box: resize the image, or explain a box nearer to one"
        )
    return best
