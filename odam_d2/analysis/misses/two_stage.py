"""What two-stage detectors did with every proposal: Faster, Mask and Cascade R-CNN and their like.

Shape letters: N images, R proposals of an image, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from detectron2.structures import Boxes, Instances
from torch import Tensor

from ...meta_arch import MatchedRCNN, OdamRCNN
from ...meta_arch.rcnn import BoxStages
from ...modeling.pooled import BoxStage
from ...modeling.provenance import BOX_FIELD, ROW_FIELD, take_field
from ...modeling.score_rules import MeanScore
from ...modeling.without_graph import without_graph
from ...utils.untyped import UntypedModule
from .choice import ChoiceStage, ScoreFilter, UnknownChoice
from .proposals import hearing
from .replay import Candidates, Replayed, ReplayedImage, known_choice, replay
from .steps import BoxStep
from .suppressing import by_maps, by_overlap


@replay.register
def _of_rcnn(detector: OdamRCNN, batched_inputs: list[dict]) -> Replayed:
    detector.require_traceable()
    with without_graph(detector), hearing(detector.proposal_generator) as heard:
        now = detector.run_box_stages(batched_inputs)
        before = heard.candidates(now.proposals)
        boxes, scores = detector.roi_heads.say_all(now.stages)
        images = []
        for number, (choice, found) in enumerate(_choose(detector, now, scores)):
            (height, width), entry = found.image_size, batched_inputs[number]
            size = (int(height), int(width))
            result = detector_postprocess(found, entry.get("height", height), entry.get("width", width))
            (rows,) = take_field([result], ROW_FIELD)
            decoded, own = boxes[number], scores[number]
            candidates = Candidates(
                noun="proposal",
                steps=_steps(now.stages, number),
                last=_last(now.stages, decoded if decoded.shape[1] == 4 else decoded.unflatten(1, (-1, 4)), size),
                scores=own[:, :-1],
                choice=choice,
                background=own[:, -1] if _has_background(now.stages) else None,
                start_scores=_start_scores(now.proposals[number]),
                before=before[number],
            )
            images.append(ReplayedImage(result, rows, size, candidates))
    return Replayed(images, lambda found: detector.trace_of(now, found))


@replay.register
def _of_matched(detector: MatchedRCNN, batched_inputs: list[dict]) -> Replayed:
    with torch.no_grad(), hearing(getattr(detector.model, "proposal_generator", None)) as heard:
        now = detector.run(batched_inputs)
        before = heard.candidates(now.proposals)
        stages, images = now.record.stages, []
        for number, (found, rows, size) in enumerate(zip(now.results, now.rows, now.image_sizes, strict=True)):
            decoded, own = now.boxes[number], now.scores[number]
            last = _last(stages, decoded if decoded.shape[1] > 1 else decoded[:, 0], size)
            choice, _ = _stock_choice(_above(last, own, stages[-1].predictor, size), own, stages[-1].predictor)
            candidates = Candidates(
                noun="proposal",
                steps=_steps(stages, number),
                last=last,
                scores=own[:, :-1],
                choice=known_choice(choice, last, rows, found.pred_classes),
                background=own[:, -1] if now.rule is MeanScore and _has_background(stages) else None,
                start_scores=_start_scores(now.proposals[number]),
                before=before[number],
            )
            images.append(ReplayedImage(_plain(found), rows, size, candidates))
    return Replayed(images, lambda found: detector.trace_of(now, found))


def _choose(detector: OdamRCNN, now: BoxStages, scores: list[Tensor]) -> list[tuple[Sequence[ChoiceStage], Instances]]:
    """For each image the stages of the choice, and what it leaves, in model-input pixels, with proposals' rows."""
    heads, predictor = detector.roi_heads, now.stages[-1].predictor
    if heads.why_suppresses_itself() is not None:
        results, _ = heads.detect(now.features, now.proposals)
        found = [_plain(one, ROW_FIELD) for one in results]
        return [([UnknownChoice("choice", None, one.get(ROW_FIELD), one.pred_classes)], one) for one in found]
    if detector.odam_nms is None:
        pairs = zip(heads.above_threshold(now.stages), scores, strict=True)
        return [_stock_choice(found, own, predictor) for found, own in pairs]
    trace, most = detector.trace_candidates(now), predictor.test_topk_per_image
    chosen: list[tuple[Sequence[ChoiceStage], Instances]] = []
    alike = detector.odam_nms.similarities(detector, trace)
    for found, similarity, own in zip(trace.instances, alike, scores, strict=True):
        stages, left = by_maps(found, similarity, detector.odam_nms, most)
        chosen.append(([_score_filter(own, predictor), *stages], left))
    return chosen


def _stock_choice(
    found: Instances, scores: Tensor, predictor: UntypedModule
) -> tuple[Sequence[ChoiceStage], Instances]:
    """How ``fast_rcnn_inference`` chooses among what scores enough, and what it leaves."""
    stages, left = by_overlap(found, predictor.test_nms_thresh, predictor.test_topk_per_image)
    return [_score_filter(scores, predictor), *stages], left


def _score_filter(scores: Tensor, predictor: UntypedModule) -> ScoreFilter:
    return ScoreFilter("score_filter", float(predictor.test_score_thresh), scores[:, :-1])


def _above(last: BoxStep, scores: Tensor, predictor: UntypedModule, size: tuple[int, int]) -> Instances:
    """What scores enough, in the order in which ``fast_rcnn_inference`` takes it."""
    rows, classes = (scores[:, :-1] > predictor.test_score_thresh).nonzero().unbind(1)
    boxes = last.boxes[rows] if last.boxes.dim() == 2 else last.boxes[rows, classes]
    found = Instances(size, pred_boxes=Boxes(boxes), scores=scores[rows, classes], pred_classes=classes)
    found.set(ROW_FIELD, rows)
    return found


def _steps(stages: list[BoxStage], number: int) -> list[BoxStep]:
    """The proposals of an image, and the boxes that each stage but the last made of them."""
    names = ["proposals", *(f"box_head_{k + 1}" for k in range(len(stages) - 1))]
    boxes = (stage.proposals[number].proposal_boxes.tensor for stage in stages)
    return [BoxStep(name, box) for name, box in zip(names, boxes, strict=True)]


def _last(stages: list[BoxStage], boxes: Tensor, size: tuple[int, int]) -> BoxStep:
    return BoxStep.clipped("box_head" if len(stages) == 1 else f"box_head_{len(stages)}", boxes, size)


def _start_scores(proposals: Instances) -> Tensor | None:
    """(R,) objectness; None of proposals that come without."""
    if proposals.has("objectness_logits"):
        return proposals.objectness_logits.sigmoid()
    return proposals.scores if proposals.has("scores") else None


def _has_background(stages: list[BoxStage]) -> bool:
    """Whether the last score is that of background: a softmax' of Detectron2's own predictor."""
    said = FastRCNNOutputLayers.predict_probs
    return all(
        type(stage.predictor).predict_probs is said and not getattr(stage.predictor, "use_sigmoid_ce", False)
        for stage in stages
    )


def _plain(found: Instances, *more: str) -> Instances:
    """Detections without what branches add to them."""
    for name in (BOX_FIELD,) if more else ():
        take_field([found], name)
    names = ("pred_boxes", "scores", "pred_classes", *more)
    return Instances(found.image_size, **{name: found.get(name) for name in names})
