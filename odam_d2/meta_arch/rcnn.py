"""The two-stage detector that remembers where its detections came from."""

from functools import partial

import torch
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN
from detectron2.modeling.roi_heads import StandardROIHeads
from detectron2.structures import Boxes, Instances

from ..config import TRACED_ROI_HEADS
from ..modeling.provenance import (
    ROW_FIELD,
    given_boxes,
    given_results,
    image_index_of,
    input_frame_boxes,
    picture_sizes,
    write_scores,
)
from ..modeling.roi_heads import OdamStandardROIHeads, assign_levels
from ..structures import DetectionTrace


@META_ARCH_REGISTRY.register()
class OdamRCNN(GeneralizedRCNN):
    """``GeneralizedRCNN`` with the same weights and the same detections, and :meth:`trace` beside :meth:`inference`."""

    def trace(self, batched_inputs: list[dict], instances: list[Instances] | None = None) -> DetectionTrace:
        """Detects, or takes the boxes that the caller gives, and keeps what an explanation needs.

        Args:
            batched_inputs: as for the stock detector: dicts with ``image`` (3, H, W) and, for the original size,
                ``height`` and ``width``.
            instances: boxes and classes to explain in place of the detections, one Instances a picture, in the
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
        with torch.no_grad():
            images = self.preprocess_image(batched_inputs)
            features = self.backbone(images.tensor)
            image_sizes, output_sizes = picture_sizes(batched_inputs, images)
            if instances is None:
                found = self._detections(batched_inputs, images, features, image_sizes)
            else:
                found = self._given(instances, features, image_sizes, output_sizes)
            results, boxes, rows, head = found
            in_features = tuple(self.roi_heads.box_in_features)
            references = torch.cat(boxes)
            shapes = self.backbone.output_shape()
            trace = DetectionTrace(
                instances=results,
                features={name: features[name] for name in in_features},
                strides={name: float(shapes[name].stride) for name in in_features},
                image_index=image_index_of([len(b) for b in boxes], self.device),
                level_index=assign_levels(self.roi_heads.box_pooler, references),
                references=references,
                boxes=input_frame_boxes(results, image_sizes, output_sizes),
                rows=torch.cat(rows),
                classes=torch.cat([result.pred_classes for result in results]),
                level_names=in_features,
                image_sizes=image_sizes,
                padded_size=tuple(images.tensor.shape[-2:]),
                output_sizes=output_sizes,
                head=head,
                compute_features=partial(self.backbone, images.tensor),
            )
            if instances is not None:
                write_scores(trace, head.predict_pooled(head.pooled, trace).scores)
        return trace

    def require_traceable(self) -> None:
        """Raises TypeError where the RoI heads keep no trace, or not of what they do in inference."""
        heads = type(self.roi_heads)
        if not hasattr(heads, "traced_head"):
            raise TypeError(
                f"`roi_heads` must keep a trace; got {heads.__name__}: set MODEL.ROI_HEADS.NAME to one of "
                f"{sorted(TRACED_ROI_HEADS.values())}, or derive the class from it"
            )
        if heads._forward_box is not StandardROIHeads._forward_box and heads.detect is OdamStandardROIHeads.detect:
            raise TypeError(
                f"`roi_heads` must trace what it does in inference; got {heads.__name__}, which overrides "
                "`_forward_box` alone: override `detect` as well, and keep the proposals' rows there"
            )

    def _detections(self, batched_inputs, images, features, image_sizes):
        """Results as the stock detector's, and for each picture the RoIs and proposal rows behind them."""
        proposals = self._propose(batched_inputs, images, features)
        results, pooled = self.roi_heads.detect(features, proposals)
        results = [r["instances"] for r in self._postprocess(results, batched_inputs, image_sizes)]
        rows = [result.get(ROW_FIELD) for result in results]
        for result in results:
            result.remove(ROW_FIELD)
        boxes = [p.proposal_boxes.tensor[row] for p, row in zip(proposals, rows, strict=True)]
        pooled = pooled.split([len(p) for p in proposals])
        pooled = torch.cat([part[row] for part, row in zip(pooled, rows, strict=True)])
        return results, boxes, rows, self.roi_heads.traced_head(proposals, pooled)

    def _given(self, instances, features, image_sizes, output_sizes):
        """The same for boxes that the caller gives: they are the RoIs."""
        num_classes = self.roi_heads.num_classes
        boxes, classes = given_boxes(instances, image_sizes, output_sizes, num_classes, self.device)
        rows = [torch.full_like(label, -1) for label in classes]
        pooled = self.roi_heads.pool(features, [Boxes(box) for box in boxes])
        return given_results(instances, classes, output_sizes), boxes, rows, self.roi_heads.traced_head(None, pooled)

    def _propose(self, batched_inputs, images, features) -> list[Instances]:
        if self.proposal_generator is None:
            return [x["proposals"].to(self.device) for x in batched_inputs]
        return self.proposal_generator(images, features, None)[0]
