"""A two-stage detector with heads of its own, whose detections are found again among what its predictor said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from detectron2.modeling.roi_heads import FastRCNNOutputLayers, ROIHeads
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou

from ..modeling.box_branches import BoxBranch, box_branches, branch_sources
from ..modeling.pooled import BoxStage, PooledStage, assign_levels
from ..modeling.provenance import (
    ROW_FIELD,
    given_boxes,
    given_results,
    image_index_of,
    input_frame_boxes,
    write_scores,
)
from ..modeling.recorded import RecordedRoIHead, Recording, UnmatchedError, match_rows, read_stages, recording
from ..modeling.results import read_others, read_results
from ..modeling.score_rules import ScoreRule, find_score_rule
from ..structures import DetectionTrace
from ..utils.threads import in_this_thread
from ..utils.untyped import UntypedModule
from .rcnn import box_sources


def why_not_matched(model: UntypedModule) -> str | None:
    """In a few words, why a detector is none whose detections can be found among a predictor's outputs."""
    heads = getattr(model, "roi_heads", None)
    if not isinstance(heads, ROIHeads) or not isinstance(getattr(model, "backbone", None), nn.Module):
        return f"{type(model).__name__} has no RoI heads"
    if not any(isinstance(module, FastRCNNOutputLayers) for module in heads.modules()):
        return f"{type(heads).__name__} has no FastRCNNOutputLayers"
    return None


@dataclass(frozen=True)
class MatchedPass:
    """A detector's own pass.

    Attributes:
        outputs, results: what the detector gave, and the N times D detections in it.
        images: what its backbone was given.
        features: what it gave.
        record: what the RoI heads did.
        rule: how they make scores.
        boxes, scores: N times (R, K or 1, 4) and (R, K + 1) of all proposals.
        rows: N times (D,) int64, the proposal of each detection.
    """

    outputs: Any
    results: list[Instances]
    images: Tensor
    features: Any
    record: Recording
    rule: type[ScoreRule]
    boxes: list[Tensor]
    scores: list[Tensor]
    rows: list[Tensor]

    @property
    def proposals(self) -> list[Instances]:
        """N Instances, as the RoI heads were given them."""
        return self.record.arguments[0][2]

    @property
    def image_sizes(self) -> list[tuple[int, int]]:
        """N times (h, w) of the model input without padding."""
        return [(int(h), int(w)) for h, w in (one.image_size for one in self.proposals)]


class MatchedRCNN:
    """Runs a detector's own inference, records its RoI heads meanwhile, and follows its detections back.

    Args:
        model: the detector; see :func:`why_not_matched`.
    """

    missing_attributes: tuple[str, ...] = ()

    def __init__(self, model: UntypedModule):
        self.model = model

    @torch.no_grad()
    def trace(self, batched_inputs: list[dict], instances: list[Instances] | None = None) -> DetectionTrace:
        """As :meth:`odam_d2.meta_arch.OdamRCNN.trace`.

        Raises:
            UnmatchedError: if the heads don't work as Detectron2's do; the message says in what.
        """
        if self.model.training:
            raise RuntimeError("the detector must be in eval mode to be traced; got training mode: call model.eval()")
        now = self.run(batched_inputs)
        if instances is None:
            parts = zip(now.results, now.boxes, now.rows, now.image_sizes, strict=True)
            trace = self._remember(now, now.record, now.results, now.rows, [_detected(*part) for part in parts])
        else:
            heads, device = self.model.roi_heads, now.record.stages[0].pooled.device
            output_sizes = [(int(h), int(w)) for h, w in (one.image_size for one in now.results)]
            boxes, labels = given_boxes(instances, now.image_sizes, output_sizes, heads.num_classes, device)
            rois = [_in_place_of(*pair) for pair in zip(now.proposals, boxes, strict=True)]
            with recording(heads, within=self.model) as record:
                now.record.call_again(heads, rois)
            rows = [torch.arange(len(box), device=device) for box in boxes]
            trace = self._remember(now, record, given_results(instances, labels, output_sizes), rows, boxes)
            write_scores(trace, trace.head.predict(trace.features, trace).scores)
        trace.others = read_others(now.outputs, len(batched_inputs))
        return trace

    def trace_of(self, now: MatchedPass, found: list[Instances]) -> DetectionTrace:
        """The trace of some of what the box stages say; see :meth:`odam_d2.meta_arch.OdamRCNN.trace_of`."""
        rows = [one.get(ROW_FIELD) for one in found]
        return self._remember(now, now.record, found, rows, [one.pred_boxes.tensor for one in found])

    def _remember(
        self, now: MatchedPass, record: Recording, results: list[Instances], rows: list[Tensor], boxes: list[Tensor]
    ) -> DetectionTrace:
        """The trace of results in any frame: rows among a record's proposals, and boxes in model-input pixels."""
        features, image_sizes = now.features, now.image_sizes
        output_sizes = [(int(h), int(w)) for h, w in (one.image_size for one in results)]
        names = self._level_names(record, features)
        levels = [features[name] for name in names]
        stages = [self._stage(stage, rows, levels) for stage in record.stages]
        branches, num_box_stages = self._branches()[0], len(stages)
        stages += [PooledStage(one.pooler, boxes, partial(one.pooler, levels)) for one in branches]
        return DetectionTrace(
            instances=results,
            features={name: features[name] for name in names},
            strides={
                name: 1.0 / level.spatial_scale
                for name, level in zip(names, record.stages[0].pooler.level_poolers, strict=True)
            },
            image_index=image_index_of([len(row) for row in rows], rows[0].device),
            level_index=torch.stack([assign_levels(stage.pooler, stage.boxes) for stage in stages], 1),
            references=stages[0].boxes,
            boxes=input_frame_boxes(results, image_sizes, output_sizes),
            rows=torch.cat(rows),
            classes=torch.cat([result.pred_classes for result in results]),
            level_names=names,
            image_sizes=image_sizes,
            padded_size=(int(now.images.shape[-2]), int(now.images.shape[-1])),
            output_sizes=output_sizes,
            head=RecordedRoIHead(self.model.roi_heads, record, stages, rows, now.rule, branches),
            compute_features=partial(self.model.backbone, now.images),
            sources=box_sources(num_box_stages) | branch_sources(branches, num_box_stages),
        )

    @property
    def extra_attributes(self) -> tuple[str, ...]:
        """See :attr:`odam_d2.meta_arch.OdamRCNN.extra_attributes`."""
        return tuple(name for branch in self._branches()[0] for name in branch.attributes)

    @property
    def refused_attributes(self) -> dict[str, str]:
        """See :attr:`odam_d2.meta_arch.OdamRCNN.refused_attributes`."""
        return self._branches()[1]

    def _branches(self) -> tuple[list[BoxBranch], dict[str, str]]:
        return box_branches(self.model.roi_heads, getattr(self.model, "keypoint_names", ()))

    @torch.no_grad()
    def candidates(self, batched_inputs: list[dict]) -> list[tuple[Tensor, Tensor]]:
        """What the box stages say of every proposal; see :meth:`odam_d2.meta_arch.OdamRCNN.candidates`."""
        now = self.run(batched_inputs)
        pairs = zip(now.boxes, now.scores, strict=True)
        return [(box if box.shape[1] > 1 else box[:, 0], score[:, :-1]) for box, score in pairs]

    @torch.no_grad()
    def run(self, batched_inputs: list[dict]) -> MatchedPass:
        """Runs the detector, and finds its detections among what the box stages say.

        Raises:
            UnmatchedError: see :meth:`trace`.
        """
        seen: list[Any] = []
        keep = in_this_thread(lambda _module, inputs, output: seen.append((inputs[0], output)))
        handle = self.model.backbone.register_forward_hook(keep)
        try:
            with recording(self.model.roi_heads, within=self.model) as record:
                outputs = self.model(batched_inputs)
        finally:
            handle.remove()
        if len(seen) != 1 or len(record.arguments) != 1 or not record.stages:
            raise UnmatchedError("backbone, RoI heads and predictor don't run once")
        all_alike = all(len(stage.pooled) == len(record.stages[0].pooled) for stage in record.stages)
        if len(record.arguments[0][2]) != len(batched_inputs) or not all_alike:
            raise UnmatchedError("the RoI heads don't take the proposals of each image through all stages")
        results, proposals = read_results(outputs, len(batched_inputs)), record.arguments[0][2]
        rule = find_score_rule(self.model.roi_heads, proposals)
        boxes, scores = _said(record, rule)
        sizes = [(int(h), int(w)) for h, w in (one.image_size for one in proposals)]
        rows = [match_rows(*part) for part in zip(results, boxes, scores, sizes, strict=True)]
        images, features = seen[0]
        return MatchedPass(outputs, results, images, features, record, rule, boxes, scores, rows)

    @staticmethod
    def _level_names(record: Recording, features: Any) -> tuple[str, ...]:
        """The backbone's names of what the poolers read."""
        known = {id(level): name for name, level in features.items()} if isinstance(features, Mapping) else {}
        names = [tuple(known.get(id(level), "") for level in levels) for levels in record.levels]
        if len(set(names)) != 1 or "" in names[0]:
            raise UnmatchedError("the RoI heads pool from other maps than the backbone's")
        return names[0]

    @staticmethod
    def _stage(stage: BoxStage, rows: list[Tensor], levels: list[Tensor]) -> PooledStage:
        everyone = [one.proposal_boxes.tensor for one in stage.proposals]
        counts = [len(box) for box in everyone]
        pooled, *outputs = (
            torch.cat([part[row] for part, row in zip(values.split(counts), rows, strict=True)])
            for values in (stage.pooled, *stage.outputs)
        )
        chosen = [box[row] for box, row in zip(everyone, rows, strict=True)]
        return PooledStage(stage.pooler, chosen, partial(stage.pooler, levels), pooled, everyone, tuple(outputs))


def _said(record: Recording, rule: type[ScoreRule]) -> tuple[list[Tensor], list[Tensor]]:
    """Boxes and reported scores of all proposals; see :func:`odam_d2.modeling.recorded.read_stages`."""
    stages = [
        (stage.predictor, stage.outputs, [one.proposal_boxes.tensor for one in stage.proposals])
        for stage in record.stages
    ]
    return read_stages(stages, record.arguments[0][2], rule)


def _detected(found: Instances, boxes: Tensor, rows: Tensor, size: tuple[int, int]) -> Tensor:
    """(D, 4): the boxes of detections in model-input pixels, of (R, K or 1, 4) of all proposals."""
    chosen = Boxes(boxes[rows, found.pred_classes % boxes.shape[1]])
    chosen.clip(size)
    return chosen.tensor


def _in_place_of(proposals: Instances, boxes: Tensor) -> Instances:
    """(r, 4) boxes as proposals of an image; what else a proposal has, each takes from the one that fits it best.

    Heads of one's own may read it, such as the proposal's score.
    """
    if len(proposals) == 0 or len(boxes) == 0:
        nothing = boxes.new_zeros(len(boxes))
        return Instances(proposals.image_size, proposal_boxes=Boxes(boxes), objectness_logits=nothing)
    # Generalised, so that it also tells boxes apart that overlap none.
    nearest = generalized_box_iou(boxes, proposals.proposal_boxes.tensor).argmax(1)
    fields = {**proposals[nearest].get_fields(), "proposal_boxes": Boxes(boxes)}
    return Instances(proposals.image_size, **fields)
