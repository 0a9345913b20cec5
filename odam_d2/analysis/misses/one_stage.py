"""What one-stage detectors said at every anchor or location: RetinaNet, FCOS and their like.

Shape letters: N images, P anchors or locations of all levels of an image, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances
from torch import Tensor

from ...meta_arch import LocationDetector, OdamFCOS, OdamRetinaNet
from ...meta_arch.forward_pass import ForwardPass
from ...meta_arch.locations import LocationPass
from ...modeling.provenance import LEVEL_FIELD, ROW_FIELD, take_field
from ...modeling.without_graph import without_graph
from ...utils.untyped import UntypedModule
from .choice import ChoiceStage, Kept, ScoreFilter, UnknownChoice
from .replay import Candidates, Replayed, ReplayedImage, known_choice, replay
from .steps import BoxStep, PointStep, Step
from .suppressing import by_maps, by_overlap


@replay.register
def _of_retinanet(detector: OdamRetinaNet, batched_inputs: list[dict]) -> Replayed:
    return _of_dense(detector, batched_inputs, "anchor", lambda anchors: BoxStep("anchors", anchors.tensor))


@replay.register
def _of_fcos(detector: OdamFCOS, batched_inputs: list[dict]) -> Replayed:
    return _of_dense(
        detector, batched_inputs, "location", lambda anchors: PointStep("locations", anchors.get_centers())
    )


def _of_dense(detector: Any, batched_inputs: list[dict], noun: str, start: Any) -> Replayed:
    detector.require_traceable()
    with without_graph(detector):
        now: ForwardPass = detector.forward_pass(batched_inputs)
        anchors = Boxes.cat(now.anchors)
        counts = torch.tensor([len(one) for one in now.anchors], device=detector.device)
        first = counts.cumsum(0) - counts
        begin: Step = start(anchors)
        images = []
        for number, (choice, found) in enumerate(_choose(detector, now, first)):
            (height, width), entry = now.image_sizes[number], batched_inputs[number]
            result = detector_postprocess(found, entry.get("height", height), entry.get("width", width))
            (rows,) = take_field([result], ROW_FIELD)
            scores, deltas = now.said[number]
            boxes = detector.box2box_transform.apply_deltas(torch.cat(deltas), anchors.tensor)
            last = BoxStep.clipped("box_regression", boxes, (height, width))
            candidates = Candidates(noun, [begin], last, torch.cat(scores), choice)
            images.append(ReplayedImage(result, rows, (height, width), candidates))

    def trace_of(pairs: list[Instances]):
        rows = torch.cat([one.get(ROW_FIELD) for one in pairs])
        levels = torch.bucketize(rows, counts.cumsum(0), right=True)
        return now.remember(pairs, rows - first[levels], levels, now.image_sizes)

    return Replayed(images, trace_of)


def _choose(detector: Any, now: ForwardPass, first: Tensor) -> list[tuple[list[ChoiceStage], Instances]]:
    """For each image the stages of the choice, and what it leaves, in model-input pixels, with rows among all P."""
    if detector.why_suppresses_itself() is not None:
        found = [_among_all(one, first) for one in detector.detections(now)]
        return [([UnknownChoice("choice", None, one.get(ROW_FIELD), one.pred_classes)], one) for one in found]
    threshold, topk = float(detector.test_score_thresh), float(detector.test_topk_candidates)
    most = detector.max_detections_per_image
    compared = [_among_all(one, first) for one in detector.above_threshold(now)]
    if detector.odam_nms is not None:
        trace = detector.trace_candidates(now)
        alike = detector.odam_nms.similarities(detector, trace)
        best = [_among_all(one, first) for one in trace.instances]
        suppressed = [by_maps(*pair, detector.odam_nms, most) for pair in zip(best, alike, strict=True)]
    else:
        suppressed = [by_overlap(one, detector.test_nms_thresh, most) for one in compared]
    chosen = []
    for (stages, left), one, (scores, _) in zip(suppressed, compared, now.said, strict=True):
        filters: list[ChoiceStage] = [
            ScoreFilter("score_filter", threshold, torch.cat(scores)),
            Kept("pre_nms_topk", topk, one.get(ROW_FIELD), one.pred_classes),
        ]
        chosen.append((filters + stages, left))
    return chosen


def _among_all(found: Instances, first: Tensor) -> Instances:
    """The same, with rows among the anchors of all levels in place of those among the anchors of their own."""
    fields = found.get_fields()
    rows = fields[ROW_FIELD] + first[fields[LEVEL_FIELD]]
    kept = {name: fields[name] for name in ("pred_boxes", "scores", "pred_classes")}
    return Instances(found.image_size, **kept, **{ROW_FIELD: rows})


@replay.register
def _of_locations(detector: LocationDetector, batched_inputs: list[dict]) -> Replayed:
    with torch.no_grad():
        now = detector.run(batched_inputs)
        centres = torch.cat(now.centres)
        settings = getattr(detector.model.proposal_generator, "fcos_outputs", None)
        images = []
        for number, (found, rows, size) in enumerate(zip(now.results, now.rows, now.image_sizes, strict=True)):
            classes = found.pred_classes
            choice: Sequence[ChoiceStage] = [UnknownChoice("choice", None, rows, classes)]
            last = BoxStep.clipped("box_regression", now.boxes[number], size)
            if all(hasattr(settings, name) for name in _SETTINGS):
                choice = known_choice(_choice_of_settings(settings, now, number), last, rows, classes)
            candidates = Candidates(
                noun="location",
                steps=[PointStep("locations", centres)],
                last=last,
                scores=now.scores[number],
                choice=choice,
            )
            result = Instances(found.image_size, pred_boxes=found.pred_boxes, scores=found.scores, pred_classes=classes)
            images.append(ReplayedImage(result, rows, size, candidates))

    def trace_of(pairs: list[Instances]):
        return detector.trace_of(now, pairs, [one.get(ROW_FIELD) for one in pairs])

    return Replayed(images, trace_of)


# What AdelaiDet's FCOS keeps of its config for inference.
_SETTINGS = ("pre_nms_thresh_test", "pre_nms_topk_test", "post_nms_topk_test", "nms_thresh", "thresh_with_ctr")


def _choice_of_settings(settings: UntypedModule, now: LocationPass, number: int) -> list[ChoiceStage]:
    """How AdelaiDet's FCOS chooses: scores, with or without centerness, the best of each level, then of all."""
    scores = now.scores[number]
    said = now.head.class_probabilities()[number]
    values = scores.square() if settings.thresh_with_ctr else said
    filtered = ScoreFilter("score_filter", float(settings.pre_nms_thresh_test), values)
    rows, classes, begin = [], [], 0
    for count in (len(one) for one in now.centres):
        row, label = (values[begin : begin + count] > filtered.limit).nonzero().unbind(1)
        row = row + begin
        best = scores[row, label].topk(min(len(row), settings.pre_nms_topk_test)).indices
        rows.append(row[best])
        classes.append(label[best])
        begin += count
    row, label = torch.cat(rows), torch.cat(classes)
    found = Instances(now.image_sizes[number], pred_boxes=Boxes(now.boxes[number][row]), scores=scores[row, label])
    found.pred_classes = label
    found.set(ROW_FIELD, row)
    most = settings.post_nms_topk_test if settings.post_nms_topk_test > 0 else -1
    stages, _ = by_overlap(found, settings.nms_thresh, most)
    return [filtered, Kept("pre_nms_topk", float(settings.pre_nms_topk_test), row, label), *stages]
