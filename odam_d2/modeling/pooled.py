"""What all RoI heads share: keeping what they pooled, and saying again what they made of it.

Shape letters: D detections over the batch, R RoIs over the batch, N images, K classes, C channels, P pooled cells.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from ..structures import DetectionTrace, Predictions
from ..utils.untyped import UntypedModule
from .box_branches import BoxBranch, branch_scalars, why_branch_not_instance_wise
from .instance_wise import ALONE_TOLERANCE, unknown_types
from .provenance import BOX_FIELD, ROW_FIELD, rows_of_kept
from .repeats import RepeatsInference


def assign_levels(pooler: ROIPooler, boxes: Tensor) -> Tensor:
    """(D,) int64: the level that `pooler` takes each XYXY box (D, 4) from; -1 from a pooler of somebody else's."""
    if type(pooler) is not ROIPooler:
        return torch.full((len(boxes),), -1, dtype=torch.int64, device=boxes.device)
    if len(pooler.level_poolers) == 1 or len(boxes) == 0:
        return torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    return assign_boxes_to_levels(
        [Boxes(boxes)], pooler.min_level, pooler.max_level, pooler.canonical_box_size, pooler.canonical_level
    )


@dataclass
class BoxStage:
    """What one box head of the detector did with all its RoIs.

    Attributes:
        pooler: where it takes features from.
        proposals: N Instances with ``proposal_boxes``, the RoIs.
        pooled: (R, C, P, P) features of all RoIs.
        predictor: the last part of the head.
        outputs: its logits and deltas for all RoIs.
    """

    pooler: ROIPooler
    proposals: list[Instances]
    pooled: Tensor
    predictor: UntypedModule
    outputs: tuple[Tensor, Tensor]


class PooledStage:
    """One place where the detector pools features for its detections: a source of what it says of them.

    Attributes:
        pooler: between feature levels and what reads the pooled features.
        split_boxes: N times (r, 4) XYXY RoIs of the detections of an image, in model-input pixels.
        boxes: (D, 4) the same of all images.
        everyone: N times (r, 4), the RoIs of all proposals; None where the detections alone were asked.
        outputs: logits and deltas of the detections, (D, ...) each, as they were in detection; empty where they are
            not kept.
    """

    def __init__(
        self,
        pooler: ROIPooler,
        split_boxes: list[Tensor],
        pool: Callable[[list[Boxes]], Tensor],
        pooled: Tensor | None = None,
        everyone: list[Tensor] | None = None,
        outputs: tuple[Tensor, ...] = (),
    ):
        self.pooler = pooler
        self.split_boxes = split_boxes
        self.boxes = torch.cat(split_boxes)
        self.everyone = everyone
        self.outputs = outputs
        self._pool = pool
        self._pooled = pooled

    @property
    def pooled(self) -> Tensor:
        """(D, C, P, P) features of the RoIs, detached: as the detector left them, or pooled when first asked for."""
        if self._pooled is None:
            with torch.no_grad():
                self._pooled = self._pool([Boxes(boxes) for boxes in self.split_boxes])
        return self._pooled


class TracedRoIHead:
    """Re-runs the RoI heads on the traced detections.

    Attributes:
        roi_heads: the detector's own RoI heads.
        stages: the S sources of a detection: the box stages, and behind them one of each branch.
        num_box_stages: how many of them are box stages.
        rows: (D,) int64, which of all proposals of the batch each detection is; None where the caller gave the boxes.
        box_branches: what pools detected boxes; none where candidates are traced.
    """

    def __init__(
        self,
        roi_heads: "TracedROIHeads",
        stages: list[PooledStage],
        num_box_stages: int,
        rows: Tensor | None,
        box_branches: Sequence[BoxBranch] = (),
    ):
        self.roi_heads = roi_heads
        self.stages = stages
        self.num_box_stages = num_box_stages
        self.rows = rows
        self.box_branches = box_branches

    @property
    def instance_wise(self) -> bool:
        """Whether each RoI's boxes and scores are known to depend on that RoI alone."""
        return self.why_not_instance_wise(()) is None

    def why_not_instance_wise(self, attributes: Collection[str]) -> str | None:
        """In a few words, why what the attributes read of a RoI may depend on other RoIs; None if it does not.

        Heads of masks and keypoints count for their own attributes alone. A head of one's own that is made of known
        parts is asked for one RoI alone: what it says then must be what it said among the others.
        """
        opaque, composed = unknown_types(self.roi_heads.modules_on_rois())
        if opaque:
            return f"{opaque[0]} is not known to treat each RoI on its own"
        if composed and not self._says_the_same_alone:
            return f"{composed[0]} does not treat each RoI on its own"
        return why_branch_not_instance_wise(self.box_branches, attributes)

    @cached_property
    def _says_the_same_alone(self) -> bool:
        """Whether the first detection's RoI has the outputs alone that it had among all RoIs."""
        stages = self.stages[: self.num_box_stages]
        if not all(stage.outputs for stage in stages):
            return False
        for number, stage in enumerate(stages):
            if len(stage.boxes) == 0:
                continue
            try:
                with torch.no_grad():
                    _, alone = self.roi_heads.run_box_stage(number, stage.pooled[:1])
            except (RuntimeError, ValueError):  # statistics of one RoI, for one
                return False
            for found, recorded in zip(alone, stage.outputs, strict=True):
                scale = recorded[:1].abs().amax()
                if not bool((found - recorded[:1]).abs().amax() <= ALONE_TOLERANCE * scale):
                    return False
        return True

    def predict_pooled(self, pooled: Mapping[int, Tensor], trace: DetectionTrace) -> Predictions:
        """Predictions of the traced detections from pooled features.

        Args:
            pooled: stage -> (D, C, P, P); a branch may be missing if none of its attributes is asked for.
            trace: the detections.
        """
        rows = torch.arange(len(trace), device=trace.rows.device)
        return self._decode(pooled.__getitem__, [stage.split_boxes for stage in self.stages], rows, trace)

    def predict(self, features: Mapping[str, Tensor], trace: DetectionTrace) -> Predictions:
        """Predictions of the traced detections from (N, C, H, W) features, with a graph back to them.

        Where RoIs may depend on each other, all proposals go through the box stages again, as they did in detection.
        """
        boxes, rows = [stage.split_boxes for stage in self.stages], self.rows
        if self.instance_wise or rows is None:
            rows = torch.arange(len(trace), device=trace.rows.device)
        else:
            boxes = [stage.everyone or stage.split_boxes for stage in self.stages]

        def pool(number: int) -> Tensor:
            return self.roi_heads.pool(features, [Boxes(b) for b in boxes[number]], self.stages[number].pooler)

        return self._decode(pool, boxes, rows, trace)

    @torch.no_grad()
    def class_vectors(self, trace: DetectionTrace) -> Tensor:
        """(D, K): what the box stages say of all classes but background, on average."""
        scores = self.predict(trace.features, trace).class_scores
        assert scores is not None  # RoI heads say them
        return scores[:, : self.roi_heads.num_classes]

    def _decode(
        self, pooled: Callable[[int], Tensor], boxes: list[list[Tensor]], rows: Tensor, trace: DetectionTrace
    ) -> Predictions:
        """Runs the heads and takes `rows` of what the box stages say, for each row's traced class."""
        heads, classes = self.roi_heads, trace.classes
        scores, logits, decoded = [], [], trace.references
        for number in range(self.num_box_stages):
            proposals = [Instances(size) for size in trace.image_sizes]
            for one, box in zip(proposals, boxes[number], strict=True):
                one.proposal_boxes = Boxes(box)
            predictor, outputs = heads.run_box_stage(number, pooled(number))
            scores.append(torch.cat(list(predictor.predict_probs(outputs, proposals)))[rows])
            logits.append(outputs[0][rows, classes])
            decoded = torch.cat(list(predictor.predict_boxes(outputs, proposals)))
        decoded = decoded.view(len(decoded), decoded.shape[1] // 4, 4)[rows]
        which = classes if decoded.shape[1] > 1 else torch.zeros_like(classes)
        class_scores = torch.stack(scores).mean(0)
        rois = [torch.cat(box) for box in boxes]
        instances = torch.arange(len(rows), device=rows.device)
        return Predictions(
            scores=class_scores[instances, classes],
            logits=torch.stack(logits).mean(0),
            boxes=decoded[instances, which],
            extras=dict(branch_scalars(self.box_branches, self.num_box_stages, pooled, rois, classes)),
            class_scores=class_scores,
        )


class TracedROIHeads(RepeatsInference):
    """Lets Detectron2's RoI heads say where their detections came from; put it in front of the stock class.

    Attributes:
        keeps_samples: whether `samples` is filled in training.
        samples: N Instances, the proposals of the latest training step with their labels, as they were sampled.
        all_proposals: N Instances, what they were sampled from.
        targets: N Instances, the annotated objects.
    """

    tracing_methods = ("detect", "run_box_stages")
    keeps_samples = False
    samples: list[Instances] = []
    all_proposals: list[Instances] = []
    targets: list[Instances] = []

    def label_and_sample_proposals(self, proposals: list[Instances], targets: list[Instances]) -> list[Instances]:
        """The stock class's, kept where somebody asks for it."""
        sampled = super().label_and_sample_proposals(proposals, targets)
        if self.keeps_samples:
            # Copies: MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES puts other boxes into the originals.
            self.samples = [Instances(one.image_size, **one.get_fields()) for one in sampled]
            self.all_proposals, self.targets = list(proposals), list(targets)
        return sampled

    def forget_samples(self) -> None:
        """Lets go of what was kept of the latest training step."""
        self.samples, self.all_proposals, self.targets = [], [], []

    def pool(self, features: Mapping[str, Tensor], boxes: list[Boxes], pooler: ROIPooler) -> Tensor:
        """(R, C, P, P): pooled features of the boxes of N images, in model-input pixels."""
        return pooler([features[name] for name in self.box_in_features], boxes)

    def modules_on_rois(self) -> list[nn.Module]:
        """What stands between pooled features and boxes and scores; what the fast engine must know."""
        raise NotImplementedError

    def run_box_stage(self, number: int, pooled: Tensor) -> tuple[UntypedModule, tuple[Tensor, Tensor]]:
        """The predictor of a box stage, and its logits and deltas for (R, C, P, P) pooled features."""
        raise NotImplementedError

    def run_box_stages(self, features: Mapping[str, Tensor], proposals: list[Instances]) -> list[BoxStage]:
        """All box stages for N Instances with ``proposal_boxes``."""
        raise NotImplementedError

    def choose(self, stages: list[BoxStage]) -> tuple[list[Instances], list[Tensor], list[Tensor], list[Tensor]]:
        """The detections, as the stock classes choose them: by the predictor, or by what several stages say together.

        Returns:
            N Instances; N times (D,) int64 indices as Detectron2 counts them, among finite rows; N times boxes
            (R, 4 or K * 4); N times (R, K + 1) scores.
        """
        last = stages[-1]
        boxes, scores = self.say_all(stages)
        if len(stages) == 1:
            results, kept = last.predictor.inference(last.outputs, last.proposals)
        else:
            thresholds = (last.predictor.test_score_thresh, last.predictor.test_nms_thresh)
            sizes = [p.image_size for p in last.proposals]
            results, kept = fast_rcnn_inference(boxes, scores, sizes, *thresholds, last.predictor.test_topk_per_image)
        return results, kept, boxes, scores

    def say_all(self, stages: list[BoxStage]) -> tuple[list[Tensor], list[Tensor]]:
        """What the box stages together say of all proposals, before any is chosen.

        Returns:
            N times boxes (R, 4 or K * 4) in model-input pixels, not clipped; N times (R, K + 1) scores, the last of
            background.
        """
        last = stages[-1]
        said = (last.outputs, last.proposals)
        return list(last.predictor.predict_boxes(*said)), list(last.predictor.predict_probs(*said))

    def detect(
        self, features: Mapping[str, Tensor], proposals: list[Instances]
    ) -> tuple[list[Instances], list[BoxStage]]:
        """What inference returns, each detection with its proposal's row and its box in model-input pixels.

        Args:
            features: level name -> (N, C, H, W).
            proposals: N Instances with ``proposal_boxes``.

        Returns:
            N Instances in the model-input frame, and the box stages behind them.
        """
        stages = self.run_box_stages(features, proposals)
        results, kept, boxes, scores = self.choose(stages)
        for result, index, box, score in zip(results, kept, boxes, scores, strict=True):
            result.set(ROW_FIELD, rows_of_kept(box, score, index))
        return self.complete(features, results), stages

    def complete(self, features: Mapping[str, Tensor], results: list[Instances]) -> list[Instances]:
        """What the branches behind the boxes add to N Instances, each detection with its box in model-input pixels."""
        for result in results:
            # Post-processing scales `pred_boxes` in place; the mask branch pools these.
            result.set(BOX_FIELD, result.pred_boxes.tensor.clone())
        return self.forward_with_given_boxes(features, results)

    def above_threshold(self, stages: list[BoxStage]) -> list[Instances]:
        """All that inference chooses among: every proposal for every class that it has enough score for.

        Returns:
            N Instances in the model-input frame, boxes clipped to the image, in the order in which the stock class
            hands them to non-max suppression, with each one's proposal's row.
        """
        found = []
        for boxes, scores, proposals in zip(*self.say_all(stages), stages[-1].proposals, strict=True):
            finite = torch.isfinite(boxes).all(1) & torch.isfinite(scores).all(1)
            above = (scores[:, :-1] > stages[-1].predictor.test_score_thresh) & finite[:, None]
            rows, classes = above.nonzero().unbind(1)
            boxes = boxes.unflatten(1, (-1, 4))
            chosen = Boxes(boxes[rows, classes if boxes.shape[1] > 1 else torch.zeros_like(classes)])
            chosen.clip(proposals.image_size)
            one = Instances(proposals.image_size, pred_boxes=chosen, scores=scores[rows, classes])
            one.pred_classes = classes
            one.set(ROW_FIELD, rows)
            found.append(one)
        return found

    def why_suppresses_itself(self) -> str | None:
        """In a few words, why :meth:`above_threshold` may not be what inference chooses among; None if it is."""
        for name in ("detect", "choose"):
            if getattr(type(self), name) is not getattr(TracedROIHeads, name):
                return f"{type(self).__name__} overrides `{name}`"
        predictors = self.box_predictor if isinstance(self.box_predictor, nn.ModuleList) else [self.box_predictor]
        for predictor in predictors:
            if getattr(type(predictor), "inference", None) is not FastRCNNOutputLayers.inference:
                return f"{type(predictor).__name__} does not choose as FastRCNNOutputLayers does"
        return None
