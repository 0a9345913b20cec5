"""What detectors that predict at anchors share: keeping the trace."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances, pairwise_iou

from ..modeling.dense import TracedDenseHead
from ..modeling.provenance import (
    LEVEL_FIELD,
    ROW_FIELD,
    UnreachedBoxError,
    given_boxes,
    given_results,
    input_and_output_sizes,
    name_anchors,
    take_field,
    write_scores,
)
from ..modeling.without_graph import without_graph
from ..postprocess import OdamNMS, require_odam_nms
from ..structures import DetectionTrace
from ..utils.untyped import StockClass
from .forward_pass import ForwardPass

# Given boxes that are compared with all anchors together; bounds memory.
MATCHED_AT_ONCE = 64


def anchor_fits(boxes: torch.Tensor, anchors: Sequence[Boxes], matcher: Matcher) -> torch.Tensor:
    """IoU of (R, 4) boxes with every anchor of all levels, (R, anchors); zero where training never pairs the two.

    With low-quality matches, Detectron2's default, an object's best anchor is trained on whatever their IoU.
    """
    iou = pairwise_iou(Boxes(boxes), Boxes.cat(list(anchors)))
    if matcher.allow_low_quality_matches:
        return iou
    background = matcher.thresholds[1]
    return torch.where(iou >= background, iou, 0.0)


class AnchorTraceMixin(StockClass):
    """Adds :meth:`trace` to a detector that predicts at anchors; put it in front of the stock class.

    A subclass says where its parts are, how it finds detections, and which anchors fit given boxes.
    """

    odam_nms: OdamNMS | None = None

    def require_traceable(self) -> None:
        """Raises TypeError where the detector does not detect as it is traced."""
        raise NotImplementedError

    def traced_head(self) -> TracedDenseHead:
        """A new memory around the detector's head."""
        raise NotImplementedError

    def anchor_parts(self) -> tuple[DefaultAnchorGenerator, tuple[str, ...], int]:
        """The anchor generator, the names of the levels that it is for, and the number of classes."""
        raise NotImplementedError

    def find(self, images, levels: list, results, anchors: list[Boxes]) -> list[Instances]:
        """What is detected in N images, in model-input pixels, with the fields ``odam_row`` and ``odam_level``."""
        raise NotImplementedError

    def finish(self, result: Instances) -> Instances:
        """The last touch to the results of one image, in the original frame."""
        return result

    def match_given(self, boxes: torch.Tensor, anchors: list[Boxes]) -> torch.Tensor:
        """For each of (R, 4) boxes in model-input pixels, how well each anchor of all levels fits: (R, anchors).

        Zero means: not at all.
        """
        raise NotImplementedError

    def trace(self, batched_inputs: list[dict], instances: list[Instances] | None = None) -> DetectionTrace:
        """Detects, or finds the anchors of the boxes that the caller gives, and keeps what an explanation needs.

        Args:
            batched_inputs: as for the stock detector.
            instances: boxes and classes to explain in place of the detections, in the original frame; see
                :func:`odam_d2.modeling.provenance.given_boxes`. Each is explained through the anchor that fits it
                best; results name it in ``anchor_boxes`` (original frame) and ``anchor_levels``.

        Returns:
            The trace; its ``instances`` are bit for bit what the stock detector returns, or, for given boxes, these
            boxes with the detector's ``scores`` for their classes.

        Raises:
            ValueError: if the given boxes are not usable; UnreachedBoxError, which is one, if no anchor fits one.
            RuntimeError: if the detector is in training mode.
        """
        if self.training:
            raise RuntimeError("the detector must be in eval mode to be traced; got training mode: call model.eval()")
        self.require_traceable()
        with without_graph(self):
            now = self.forward_pass(batched_inputs)
            image_sizes, output_sizes = input_and_output_sizes(batched_inputs, now.images)
            if instances is None:
                found = self.detections(now)
                results = [detector_postprocess(r, *size) for r, size in zip(found, output_sizes, strict=True)]
                rows, levels = (torch.cat(take_field(results, name)) for name in (ROW_FIELD, LEVEL_FIELD))
                results = [self.finish(result) for result in results]
            else:
                num_classes = self.anchor_parts()[2]
                boxes, labels = given_boxes(instances, image_sizes, output_sizes, num_classes, self.device)
                rows, levels = self._anchors_of(boxes, now.anchors)
                results = given_results(instances, labels, output_sizes)
            trace = now.remember(results, rows, levels, output_sizes)
            if instances is not None:
                write_scores(trace, now.head.decode(now.head.gather(now.head.maps, trace), trace).scores)
                name_anchors(trace)
            elif self.odam_nms is not None and self.odam_nms.decays:
                trace.reported = False
        return trace

    def detections(self, now: ForwardPass) -> list[Instances]:
        """What :meth:`trace` traces, in the form that :meth:`find` gives."""
        return self.find(now.images, now.levels, now.results, now.anchors)

    def forward_pass(self, batched_inputs: list[dict]) -> ForwardPass:
        """Runs backbone and head on the images of a batch, and chooses nothing."""
        generator, names, _ = self.anchor_parts()
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        levels = [features[name] for name in names]
        head = self.traced_head()
        compute = partial(self.backbone, images.tensor)
        return ForwardPass(images, names, generator.strides, levels, head, head.run(levels), generator(levels), compute)

    def candidates(self, batched_inputs: list[dict]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """What the detector says at every anchor, before thresholds and non-max suppression choose among them.

        Args:
            batched_inputs: as for the stock detector.

        Returns:
            For each image (P, 4) XYXY boxes of its P anchors in model-input pixels, not clipped to the image, and
            (P, K) scores of all classes as they are reported with detections.
        """
        self.require_traceable()
        generator, names, _ = self.anchor_parts()
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        levels = [features[name] for name in names]
        head = self.traced_head()
        boxes, scores = head.candidates(head.module(levels), Boxes.cat(generator(levels)).tensor)
        return list(zip(boxes, scores, strict=True))

    def random_trace(self, batched_inputs: list[dict], each: int, generator: torch.Generator) -> DetectionTrace:
        """Keeps what an explanation needs of predictions drawn at random, whatever their scores.

        Args:
            batched_inputs: as for the stock detector.
            each: how many predictions of each level of each image; anchors and classes are drawn, all equally likely.
            generator: draws them, on the CPU.

        Returns:
            The trace; its ``instances`` have the anchors for boxes.
        """
        with without_graph(self):
            now = self.forward_pass(batched_inputs)
            counts, rows, classes = [len(one) for one in now.anchors], [], []
            for _ in now.image_sizes:
                rows += [torch.randint(count, (each,), generator=generator) for count in counts]
                classes.append(torch.randint(self.anchor_parts()[2], (each * len(counts),), generator=generator))
            levels = torch.arange(len(counts)).repeat_interleave(each).repeat(len(now.image_sizes))
            row, level = torch.cat(rows).to(self.device), levels.to(self.device)
            first = torch.tensor(counts, device=self.device).cumsum(0).roll(1)
            first[0] = 0
            boxes = Boxes.cat(now.anchors).tensor[first[level] + row].split(each * len(counts))
            results = [
                Instances(size, pred_boxes=Boxes(box), pred_classes=label.to(self.device))
                for size, box, label in zip(now.image_sizes, boxes, classes, strict=True)
            ]
            trace = now.remember(results, row, level, now.image_sizes)
            write_scores(trace, now.head.decode(now.head.gather(now.head.maps, trace), trace).scores)
        return trace

    def _anchors_of(self, boxes: list[torch.Tensor], anchors: list[Boxes]) -> tuple[torch.Tensor, torch.Tensor]:
        """Row within its level, and level, of the anchor that fits each given box best; (D,) int64 each."""
        counts = torch.tensor([len(a) for a in anchors], device=self.device)
        chosen = []
        for number, box in enumerate(boxes):
            # A few boxes at a time: every one is compared with every anchor.
            fits = [self.match_given(part, anchors).max(1) for part in box.split(MATCHED_AT_ONCE) if len(part)]
            chosen += [fit.indices for fit in fits]
            none = torch.cat([box.new_zeros(0), *(fit.values for fit in fits)]).le(0).nonzero()[:, 0]
            if len(none):
                index = int(none[0])
                raise UnreachedBoxError(
                    f"box {index} of `instances[{number}]` must fit an anchor of the detector; got "
                    f"{[round(v, 1) for v in boxes[number][index].tolist()]} in model-input pixels, which none of its "
                    f"{int(counts.sum())} anchors fits: resize the image, or explain a box nearer to one"
                )
        best = torch.cat([torch.zeros(0, dtype=torch.int64, device=self.device), *chosen])
        level = torch.bucketize(best, counts.cumsum(0), right=True)
        return best - (counts.cumsum(0) - counts)[level], level


class DenseTraceMixin(AnchorTraceMixin):
    """The same for a ``DenseDetector``; a subclass says what it stands in front of and overrides :meth:`match_given`.

    Args:
        odam_nms: takes the place of non-max suppression; None leaves the stock detector's.
        kwargs: those of the stock class.

    Raises:
        TypeError: if `odam_nms` can't take that place, since the detector suppresses in a way of its own.
        ValueError: if `odam_nms` is to pool boxes again.

    Attributes:
        stock_class: Detectron2's detector, whose non-max suppression Odam-NMS can stand in for.
        traced_head_type: what remembers its head's outputs.
    """

    stock_class: type[DenseDetector]
    traced_head_type: type[TracedDenseHead]

    def __init__(self, *, odam_nms: OdamNMS | None = None, **kwargs):
        super().__init__(**kwargs)
        self.odam_nms = odam_nms
        if odam_nms is not None and odam_nms.repool:
            raise ValueError(
                f"`odam_nms` of a one-stage detector must have repool 0; got {odam_nms.repool}: only RoIs are pooled, "
                "so leave ODAM.NMS.REPOOL at 0"
            )
        reason = self.why_suppresses_itself()
        if odam_nms is not None and reason:
            raise TypeError(
                f"`odam_nms` must stand in for Detectron2's own non-max suppression; {reason}: leave it out, or set "
                "ODAM.NMS.ENABLED to False"
            )

    def forward(self, batched_inputs: list[dict]):
        """The stock detector's; with Odam-NMS, in inference, what :meth:`trace` traces, without a graph."""
        if self.training or self.odam_nms is None:
            return super().forward(batched_inputs)
        return [{"instances": result} for result in self.trace(batched_inputs).instances]

    def candidate_trace(self, batched_inputs: list[dict]) -> DetectionTrace:
        """What Odam-NMS chooses among.

        Args:
            batched_inputs: as for the stock detector.

        Returns:
            The trace of the candidates; its ``instances`` are in the model-input frame, boxes not clipped, and have
            their anchors in ``odam_row`` and ``odam_level``.

        Raises:
            RuntimeError: if the detector has no Odam-NMS, or is in training mode.
        """
        require_odam_nms(self)
        with without_graph(self):
            return self.trace_candidates(self.forward_pass(batched_inputs))

    def detections(self, now: ForwardPass) -> list[Instances]:
        """See :meth:`AnchorTraceMixin.detections`."""
        if self.odam_nms is None:
            return super().detections(now)
        trace = self.trace_candidates(now)
        return self.odam_nms.detections(self, trace, self.max_detections_per_image)

    def why_suppresses_itself(self) -> str | None:
        """In a few words, why :meth:`above_threshold` may not be what inference chooses among; None if it is."""
        if type(self).inference_single_image is not self.stock_class.inference_single_image:
            return f"{type(self).__name__} overrides `inference_single_image`"
        return None

    def above_threshold(self, now: ForwardPass) -> list[Instances]:
        """What inference hands to non-max suppression: of each level the best pairs of anchor and class.

        Returns:
            N Instances in the model-input frame, boxes not clipped, with ``odam_row`` and ``odam_level``.
        """
        about = (self.test_score_thresh, self.test_topk_candidates)
        decode = self._decode_multi_level_predictions
        return [decode(now.anchors, *one, *about, size) for one, size in zip(now.said, now.image_sizes, strict=True)]

    def trace_candidates(self, now: ForwardPass) -> DetectionTrace:
        """The trace of what Odam-NMS chooses among in a run; see :meth:`candidate_trace`."""
        assert self.odam_nms is not None  # it asks for them
        candidates = self.odam_nms.best(self.above_threshold(now))
        rows, levels = (torch.cat([c.get(name) for c in candidates]) for name in (ROW_FIELD, LEVEL_FIELD))
        return now.remember(candidates, rows, levels, now.image_sizes)

    def require_traceable(self) -> None:
        """Raises TypeError where inference is somebody else's, which a trace would not know."""
        if type(self).forward_inference is not DenseTraceMixin.forward_inference:
            raise TypeError(
                f"`model` must detect as it is traced; got {type(self).__name__}, which overrides `forward_inference`: "
                "override `inference_single_image` in its place"
            )

    def traced_head(self) -> TracedDenseHead:
        """See :meth:`AnchorTraceMixin.traced_head`."""
        return self.traced_head_type(self)

    def anchor_parts(self) -> tuple[DefaultAnchorGenerator, tuple[str, ...], int]:
        """See :meth:`AnchorTraceMixin.anchor_parts`."""
        return self.anchor_generator, tuple(self.head_in_features), self.num_classes

    def find(self, images, levels: list, results, anchors: list[Boxes]) -> list[Instances]:
        """See :meth:`AnchorTraceMixin.find`."""
        del anchors
        return super().forward_inference(images, levels, results)

    def forward_inference(self, images, features, predictions) -> list[Instances]:
        """The stock detector's, without a trace of the trace; it suppresses as the stock one does in any case."""
        results = super().forward_inference(images, features, predictions)
        for name in (ROW_FIELD, LEVEL_FIELD):
            take_field(results, name)
        return results

    def _decode_per_level_predictions(
        self, anchors, pred_scores, pred_deltas, score_thresh, topk_candidates, image_size
    ) -> Instances:
        """The stock detector's candidates of one level, with each one's anchor beside it."""
        above = pred_scores > score_thresh
        scores = pred_scores[above]
        scores, best = scores.topk(min(len(scores), topk_candidates))
        rows, classes = above.nonzero()[best].unbind(1)
        boxes = self.box2box_transform.apply_deltas(pred_deltas[rows], anchors.tensor[rows])
        found = Instances(image_size, pred_boxes=Boxes(boxes), scores=scores, pred_classes=classes)
        found.set(ROW_FIELD, rows)
        return found

    def _decode_multi_level_predictions(self, anchors, pred_scores, pred_deltas, *args) -> Instances:
        """The same for all levels, with each candidate's level beside it too."""
        found = []
        for level, parts in enumerate(zip(anchors, pred_scores, pred_deltas, strict=True)):
            candidates = self._decode_per_level_predictions(*parts, *args)
            candidates.set(LEVEL_FIELD, torch.full_like(candidates.pred_classes, level))
            found.append(candidates)
        return Instances.cat(found)
