"""What dense detectors share: keeping the trace."""

from functools import partial

import torch
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances

from ..modeling.provenance import (
    ROW_FIELD,
    given_boxes,
    given_results,
    image_index_of,
    input_frame_boxes,
    picture_sizes,
    write_scores,
)
from ..structures import DetectionTrace

LEVEL_FIELD = "odam_level"
# Given boxes that are compared with all anchors together; bounds memory.
MATCHED_AT_ONCE = 64


class DenseTraceMixin:
    """Adds :meth:`trace` to a ``DenseDetector``; put it in front of the stock class.

    A subclass names ``traced_head_type`` and chooses anchors for given boxes in :meth:`match_given`.
    """

    traced_head_type: type

    def require_traceable(self) -> None:
        """Raises TypeError where inference is somebody else's, which a trace would not know."""
        if type(self).forward_inference is not DenseTraceMixin.forward_inference:
            raise TypeError(
                f"`model` must detect as it is traced; got {type(self).__name__}, which overrides `forward_inference`: "
                "override `inference_single_image` in its place"
            )

    def match_given(self, boxes: torch.Tensor, anchors: list[Boxes]) -> torch.Tensor:
        """For each of (R, 4) boxes in model-input pixels, how well each anchor of all levels fits: (R, anchors).

        Zero means: not at all.
        """
        raise NotImplementedError

    def forward_inference(self, images, features, predictions) -> list[Instances]:
        """The stock detector's, without a trace of the trace."""
        results = super().forward_inference(images, features, predictions)
        for result in results:
            result.remove(ROW_FIELD)
            result.remove(LEVEL_FIELD)
        return results

    def _decode_multi_level_predictions(self, anchors, pred_scores, *args) -> Instances:
        """The stock detector's, with each candidate's level and anchor beside it."""
        levels = []
        for level, (anchor, score, delta) in enumerate(zip(anchors, pred_scores, args[0], strict=True)):
            found = self._decode_per_level_predictions(anchor, score, delta, *args[1:])
            # The stock method forgets the anchors; the same choice, made again.
            threshold, most = args[1], args[2]
            above = score > threshold
            best = score[above].topk(len(found))[1] if most else torch.zeros(0, dtype=torch.int64)
            found.set(ROW_FIELD, above.nonzero()[best][:, 0])
            found.set(LEVEL_FIELD, torch.full_like(found.pred_classes, level))
            levels.append(found)
        return Instances.cat(levels)

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
            ValueError: if the given boxes are not usable, or no anchor fits one.
            RuntimeError: if the detector is in training mode.
        """
        if self.training:
            raise RuntimeError("the detector must be in eval mode to be traced; got training mode: call model.eval()")
        self.require_traceable()
        with torch.no_grad():
            images = self.preprocess_image(batched_inputs)
            features = self.backbone(images.tensor)
            names = tuple(self.head_in_features)
            levels = [features[name] for name in names]
            head = self.traced_head_type(self)
            with head.recording():
                predictions = self.head(levels)
            # Inference applies sigmoid_ in place.
            head.maps = [[level.clone() for level in result] for result in predictions]
            anchors = self.anchor_generator(levels)
            image_sizes, output_sizes = picture_sizes(batched_inputs, images)
            if instances is None:
                results = super().forward_inference(images, levels, predictions)
                results = [detector_postprocess(r, *size) for r, size in zip(results, output_sizes, strict=True)]
                rows = torch.cat([r.get(ROW_FIELD) for r in results])
                level_index = torch.cat([r.get(LEVEL_FIELD) for r in results])
                for result in results:
                    result.remove(ROW_FIELD)
                    result.remove(LEVEL_FIELD)
                classes = torch.cat([r.pred_classes for r in results])
            else:
                boxes, labels = given_boxes(instances, image_sizes, output_sizes, self.num_classes, self.device)
                rows, level_index = self._anchors_of(boxes, anchors)
                classes = torch.cat(labels)
                results = given_results(instances, labels, output_sizes)
            counts = torch.tensor([len(a) for a in anchors], device=self.device)
            first = counts.cumsum(0) - counts
            trace = DetectionTrace(
                instances=results,
                features=dict(zip(names, levels, strict=True)),
                strides={n: float(s) for n, s in zip(names, self.anchor_generator.strides, strict=True)},
                image_index=image_index_of([len(r) for r in results], self.device),
                level_index=level_index[:, None],
                references=Boxes.cat(anchors).tensor[first[level_index] + rows],
                boxes=input_frame_boxes(results, image_sizes, output_sizes),
                rows=rows,
                classes=classes,
                level_names=names,
                image_sizes=image_sizes,
                padded_size=tuple(images.tensor.shape[-2:]),
                output_sizes=output_sizes,
                head=head,
                compute_features=partial(self.backbone, images.tensor),
            )
            if instances is not None:
                write_scores(trace, head.decode(head.gather(head.maps, trace), trace).scores)
                self._name_anchors(trace)
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
                raise ValueError(
                    f"box {index} of `instances[{number}]` must fit an anchor of the detector; got "
                    f"{[round(v, 1) for v in boxes[number][index].tolist()]} in model-input pixels, which none of its "
                    f"{int(counts.sum())} anchors fits: resize the picture, or explain a box nearer to one"
                )
        best = torch.cat([torch.zeros(0, dtype=torch.int64, device=self.device), *chosen])
        level = torch.bucketize(best, counts.cumsum(0), right=True)
        return best - (counts.cumsum(0) - counts)[level], level

    @staticmethod
    def _name_anchors(trace: DetectionTrace) -> None:
        """Says in the results which anchor each given box is explained through."""
        counts = [len(result) for result in trace.instances]
        parts = zip(
            trace.instances, trace.references.split(counts), trace.level_index[:, 0].split(counts),
            trace.image_sizes, trace.output_sizes, strict=True,
        )  # fmt: skip
        for result, anchors, levels, (in_h, in_w), (out_h, out_w) in parts:
            scaled = Boxes(anchors.clone())
            scaled.scale(out_w / in_w, out_h / in_h)
            result.anchor_boxes = scaled
            result.anchor_levels = levels
