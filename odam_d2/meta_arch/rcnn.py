"""The two-stage detector that remembers where its detections came from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN
from detectron2.structures import Boxes, ImageList, Instances

from ..config import TRACED_ROI_HEADS
from ..modeling.box_branches import BoxBranch, box_branches, branch_sources
from ..modeling.class_names import known_keypoint_names
from ..modeling.pooled import BoxStage, PooledStage, TracedRoIHead, TracedROIHeads, assign_levels
from ..modeling.provenance import (
    BOX_FIELD,
    ROW_FIELD,
    given_boxes,
    given_results,
    image_index_of,
    input_and_output_sizes,
    input_frame_boxes,
    take_field,
    write_scores,
)
from ..modeling.rotated import refuse_rotated_boxes
from ..modeling.without_graph import without_graph
from ..postprocess import TWO_STAGE, OdamNMS, odam_nms_arguments, require_odam_nms
from ..structures import CORNERS, SIDES, DetectionTrace
from .rcnn_training import RCNNTrainingMixin


@dataclass(frozen=True)
class BoxStages:
    """One run of backbone, proposal generator and box stages.

    Attributes:
        images: N images, normalised and padded.
        features: level name -> (N, C, H, W).
        proposals: N Instances with ``proposal_boxes``.
        stages: what the box heads did with all of them.
    """

    images: ImageList
    features: dict[str, torch.Tensor]
    proposals: list[Instances]
    stages: list[BoxStage]


@META_ARCH_REGISTRY.register()
class OdamRCNN(RCNNTrainingMixin, GeneralizedRCNN):
    """``GeneralizedRCNN`` with the same weights and the same detections, :meth:`trace` beside them, and Odam-Train.

    Args:
        odam_nms: takes the place of non-max suppression; None leaves the stock detector's.
        keypoint_names: of the keypoints, by number, for their attributes; without, these have numbers.
        kwargs: those of ``GeneralizedRCNN`` and of ``RCNNTrainingMixin``.

    Raises:
        TypeError: if `odam_nms` can't take that place, since the RoI heads suppress in a way of their own.
    """

    @configurable
    def __init__(self, *, odam_nms: OdamNMS | None = None, keypoint_names: Sequence[str] = (), **kwargs):
        super().__init__(**kwargs)
        self.odam_nms = odam_nms
        self.keypoint_names = tuple(keypoint_names)
        if odam_nms is not None:
            self.require_traceable()
            reason = self.roi_heads.why_suppresses_itself()
            if reason:
                raise TypeError(
                    f"`odam_nms` must stand in for Detectron2's own non-max suppression; {reason}: leave it out, or "
                    "set ODAM.NMS.ENABLED to False"
                )

    @classmethod
    def from_config(cls, cfg) -> dict:
        """Arguments from a yaml config."""
        number = cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS
        names = known_keypoint_names(cfg, number) if cfg.MODEL.KEYPOINT_ON else ()
        return {**super().from_config(cfg), **odam_nms_arguments(cfg, TWO_STAGE), "keypoint_names": names}

    def inference(
        self, batched_inputs: list[dict], detected_instances: list[Instances] | None = None, do_postprocess: bool = True
    ) -> list:
        """The stock detector's; with Odam-NMS, what :meth:`trace` traces, without a graph."""
        if self.odam_nms is None or detected_instances is not None:
            return super().inference(batched_inputs, detected_instances, do_postprocess)
        with without_graph(self):
            images = self.preprocess_image(batched_inputs)
            results = self._detect_without_fields(batched_inputs, images, self.backbone(images.tensor))
        return self._postprocess(results, batched_inputs, images.image_sizes) if do_postprocess else results

    def trace(self, batched_inputs: list[dict], instances: list[Instances] | None = None) -> DetectionTrace:
        """Detects, or takes the boxes that the caller gives, and keeps what an explanation needs.

        Args:
            batched_inputs: as for the stock detector: dicts with ``image`` (3, H, W) and, for the original size,
                ``height`` and ``width``.
            instances: boxes and classes to explain in place of the detections, one Instances an image, in the
                original frame; see :func:`odam_d2.modeling.provenance.given_boxes`. They become the RoIs themselves.

        Returns:
            The trace; its ``instances`` are bit for bit what the stock detector returns, or, for given boxes, these
            boxes with the detector's ``scores`` for their classes.

        Raises:
            TypeError: if the RoI heads keep no trace; see :meth:`require_traceable`.
            ValueError: if the given boxes are not usable.
            RuntimeError: if the detector is in training mode.
        """
        if self.training:
            raise RuntimeError("the detector must be in eval mode to be traced; got training mode: call model.eval()")
        self.require_traceable()
        with without_graph(self):
            images = self.preprocess_image(batched_inputs)
            features = self.backbone(images.tensor)
            image_sizes, output_sizes = input_and_output_sizes(batched_inputs, images)
            if instances is None:
                results, rows, stages = self._detections(batched_inputs, images, features, image_sizes)
            else:
                results, rows, stages = self._given(instances, features, image_sizes, output_sizes)
            num_box_stages = len(stages)
            stages += self._branch_stages(features, results)
            trace = self._remember(images, features, results, rows, stages, num_box_stages, output_sizes)
            trace.others = self.segments(batched_inputs, images, features, results if instances is None else None)
            if instances is not None:
                write_scores(trace, trace.head.predict(features, trace).scores)
            elif self.odam_nms is not None and self.odam_nms.decays:
                trace.reported = False
        return trace

    def segments(
        self,
        batched_inputs: list[dict],
        images: ImageList,
        features: dict[str, torch.Tensor],
        instances: list[Instances] | None,
    ) -> list[dict]:
        """What the detector gives of each of N images beside its instances; nothing for this one.

        Args:
            batched_inputs: as for :meth:`trace`.
            images: N images, normalised and padded.
            features: level name -> (N, C, H, W).
            instances: N results in the original frame; None for boxes that the caller gave.
        """
        del batched_inputs, images, features, instances
        return []

    def candidate_trace(self, batched_inputs: list[dict]) -> DetectionTrace:
        """What Odam-NMS chooses among.

        Args:
            batched_inputs: as for the stock detector.

        Returns:
            The trace of the candidates; its ``instances`` are in the model-input frame, boxes clipped to it, and have
            proposals' rows in ``odam_row``.

        Raises:
            RuntimeError: if the detector has no Odam-NMS, or is in training mode.
        """
        require_odam_nms(self)
        with without_graph(self):
            return self.trace_candidates(self.run_box_stages(batched_inputs))

    def candidates(self, batched_inputs: list[dict]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """What the box stages say of every proposal, before thresholds and non-max suppression choose among them.

        Args:
            batched_inputs: as for the stock detector.

        Returns:
            For each image, of its P proposals: XYXY boxes in model-input pixels, not clipped to the image,
            (P, K, 4) or, where all classes share a box, (P, 4); and (P, K) scores without background's.
        """
        self.require_traceable()
        pairs = zip(*self.roi_heads.say_all(self.run_box_stages(batched_inputs).stages), strict=True)
        return [(box if box.shape[1] == 4 else box.unflatten(1, (-1, 4)), score[:, :-1]) for box, score in pairs]

    def run_box_stages(self, batched_inputs: list[dict]) -> BoxStages:
        """Proposes, and runs the box heads on all proposals; chooses nothing among what they say.

        Args:
            batched_inputs: as for the stock detector.
        """
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        proposals = self._propose(batched_inputs, images, features)
        return BoxStages(images, features, proposals, self.roi_heads.run_box_stages(features, proposals))

    def trace_of(self, now: BoxStages, found: list[Instances]) -> DetectionTrace:
        """The trace of some of what the box stages say, detected or not.

        Args:
            now: the run.
            found: N Instances in the model-input frame, with ``pred_boxes``, ``scores``, ``pred_classes`` and the rows
                of their proposals in ``odam_row``.
        """
        rows = [one.get(ROW_FIELD) for one in found]
        stages = [self._stage(now.features, stage, rows) for stage in now.stages]
        sizes = [one.image_size for one in found]
        return self._remember(now.images, now.features, found, rows, stages, len(stages), sizes)

    def require_traceable(self) -> None:
        """Raises TypeError where the RoI heads keep no trace, or not of what they do in inference."""
        refuse_rotated_boxes(self)
        heads = type(self.roi_heads)
        if not issubclass(heads, TracedROIHeads):
            raise TypeError(
                f"`roi_heads` must keep a trace; got {heads.__name__}: set MODEL.ROI_HEADS.NAME to one of "
                f"{sorted(TRACED_ROI_HEADS.values())}, or derive the class from it"
            )
        reason = heads.why_not_traced()
        if reason:
            raise TypeError(
                f"`roi_heads` must trace what it does in inference; got {heads.__name__}, which {reason}: override "
                "`run_box_stages` or `detect` as well, and keep the proposals' rows there"
            )

    @property
    def extra_attributes(self) -> tuple[str, ...]:
        """``mask`` and ``keypoint_...`` where there are branches on the levels that boxes read."""
        return tuple(name for branch in self._branches() for name in branch.attributes)

    @property
    def refused_attributes(self) -> dict[str, str]:
        """Attribute -> why it can't be asked for, of branches that the detector has."""
        return box_branches(self.roi_heads, self.keypoint_names)[1]

    def _detections(self, batched_inputs, images, features, image_sizes):
        """Results as those of inference, and for each image the proposals' rows and the box stages behind them."""
        results, box_stages = self._detect(batched_inputs, images, features)
        results = [r["instances"] for r in self._postprocess(results, batched_inputs, image_sizes)]
        rows = take_field(results, ROW_FIELD)
        return results, rows, [self._stage(features, stage, rows) for stage in box_stages]

    def _detect_without_fields(self, batched_inputs, images, features) -> list[Instances]:
        """What is detected, in model-input pixels, with the fields of the stock detector alone."""
        results, _ = self._detect(batched_inputs, images, features)
        for name in (ROW_FIELD, BOX_FIELD):
            take_field(results, name)
        return results

    def _detect(self, batched_inputs, images, features) -> tuple[list[Instances], list[BoxStage]]:
        """What is detected, in model-input pixels, with rows and boxes beside it, and the box stages behind it."""
        proposals = self._propose(batched_inputs, images, features)
        if self.odam_nms is None:
            return self.roi_heads.detect(features, proposals)
        stages = self.roi_heads.run_box_stages(features, proposals)
        trace = self.trace_candidates(BoxStages(images, features, proposals, stages))
        most = stages[-1].predictor.test_topk_per_image
        results = self.odam_nms.detections(self, trace, most)
        return self.roi_heads.complete(features, results), stages

    def trace_candidates(self, now: BoxStages) -> DetectionTrace:
        """The trace of what Odam-NMS chooses among in a run; see :meth:`candidate_trace`."""
        assert self.odam_nms is not None  # it asks for them
        trace = self.trace_of(now, self.odam_nms.best(self.roi_heads.above_threshold(now.stages)))
        boxes = trace.boxes
        for repeat in range(self.odam_nms.repool):
            boxes = trace.head.predict(now.features, trace).boxes if repeat else boxes
            trace = self._repool(now.images, now.features, trace, boxes)
        return trace

    def _repool(self, images, features, trace: DetectionTrace, boxes: torch.Tensor) -> DetectionTrace:
        """The trace of the same instances, explained as if these boxes had been their proposals."""
        proposals = []
        for size, box in zip(trace.image_sizes, boxes.split([len(one) for one in trace.instances]), strict=True):
            proposals.append(Instances(size, proposal_boxes=Boxes(box.clone())))
            proposals[-1].proposal_boxes.clip(size)
        everyone = [torch.arange(len(one), device=self.device) for one in proposals]
        stages = [self._stage(features, s, everyone) for s in self.roi_heads.run_box_stages(features, proposals)]
        rows = [torch.full_like(row, -1) for row in everyone]
        again = self._remember(images, features, trace.instances, rows, stages, len(stages), trace.output_sizes)
        return replace(again, reported=False)

    def _remember(self, images, features, results, rows, stages, num_box_stages, output_sizes) -> DetectionTrace:
        """The trace of results that are in the frame of `output_sizes`, with their proposals' rows and their stages."""
        in_features, shapes = tuple(self.roi_heads.box_in_features), self.backbone.output_shape()
        image_sizes = [(int(h), int(w)) for h, w in images.image_sizes]
        branches = self._branches() if len(stages) > num_box_stages else []
        first = torch.tensor([0, *(len(p) for p in stages[0].everyone)][:-1], device=self.device).cumsum(0)
        all_rows, image_index = torch.cat(rows), image_index_of([len(row) for row in rows], self.device)
        # Boxes that the caller gave came from no proposal.
        batch_rows = None if bool((all_rows < 0).any()) else all_rows + first[image_index]
        return DetectionTrace(
            instances=results,
            features={name: features[name] for name in in_features},
            strides={name: float(shapes[name].stride) for name in in_features},
            image_index=image_index,
            level_index=torch.stack([assign_levels(stage.pooler, stage.boxes) for stage in stages], 1),
            references=stages[0].boxes,
            boxes=input_frame_boxes(results, image_sizes, output_sizes),
            rows=all_rows,
            classes=torch.cat([result.pred_classes for result in results]),
            level_names=in_features,
            image_sizes=image_sizes,
            padded_size=tuple(images.tensor.shape[-2:]),
            output_sizes=output_sizes,
            head=TracedRoIHead(self.roi_heads, stages, num_box_stages, batch_rows, branches),
            compute_features=partial(self.backbone, images.tensor),
            sources=box_sources(num_box_stages) | branch_sources(branches, num_box_stages),
        )

    def _given(self, instances, features, image_sizes, output_sizes):
        """The same for boxes that the caller gives: they are the RoIs of the first stage."""
        boxes, classes = given_boxes(instances, image_sizes, output_sizes, self.roi_heads.num_classes, self.device)
        results = given_results(instances, classes, output_sizes)
        proposals = [Instances(size, proposal_boxes=Boxes(b)) for size, b in zip(image_sizes, boxes, strict=True)]
        everything = [torch.arange(len(label), device=self.device) for label in classes]
        stages = [
            self._stage(features, stage, everything) for stage in self.roi_heads.run_box_stages(features, proposals)
        ]
        for result, box in zip(results, boxes, strict=True):
            result.set(BOX_FIELD, box)
        return results, [torch.full_like(label, -1) for label in classes], stages

    def _stage(self, features, stage: BoxStage, rows: list[torch.Tensor]) -> PooledStage:
        """Of a box stage, the `rows` of each image."""
        everyone = [p.proposal_boxes.tensor for p in stage.proposals]
        chosen = [box[row] for box, row in zip(everyone, rows, strict=True)]
        pool = partial(self.roi_heads.pool, features, pooler=stage.pooler)
        counts = [len(box) for box in everyone]
        pooled, *outputs = (
            torch.cat([part[row] for part, row in zip(values.split(counts), rows, strict=True)])
            for values in (stage.pooled, *stage.outputs)
        )
        return PooledStage(stage.pooler, chosen, pool, pooled, everyone, tuple(outputs))

    def _branch_stages(self, features, results) -> list[PooledStage]:
        """One stage for each branch: they pool the detected boxes."""
        boxes = take_field(results, BOX_FIELD)
        return [
            PooledStage(one.pooler, boxes, partial(self.roi_heads.pool, features, pooler=one.pooler))
            for one in self._branches()
        ]

    def _branches(self) -> list[BoxBranch]:
        return box_branches(self.roi_heads, self.keypoint_names)[0]

    def _propose(self, batched_inputs, images, features) -> list[Instances]:
        if self.proposal_generator is None:
            return [x["proposals"].to(self.device) for x in batched_inputs]
        return self.proposal_generator(images, features, None)[0]


def box_sources(num_box_stages: int) -> dict[str, tuple[int, ...]]:
    """Which box stages an attribute depends on: the score on all of them, the box on the last."""
    score, box = tuple(range(num_box_stages)), (num_box_stages - 1,)
    return {"score": score, "logit": score} | dict.fromkeys((*SIDES, *CORNERS), box)
