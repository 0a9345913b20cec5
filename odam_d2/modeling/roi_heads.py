"""RoI heads that remember which proposal each detection came from.

Shape letters: D detections over the batch, R proposals of a picture, K classes, C channels, P pooled cells.
"""

from collections.abc import Mapping

import torch
from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels
from detectron2.modeling.roi_heads import FastRCNNConvFCHead, FastRCNNOutputLayers, StandardROIHeads
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from ..structures import DetectionTrace, Predictions
from .provenance import ROW_FIELD, rows_of_kept

# Box heads and predictors that treat each RoI on its own. Types, not subclasses: a subclass may do anything.
INSTANCE_WISE_MODULES: set[type[nn.Module]] = {FastRCNNConvFCHead, FastRCNNOutputLayers}


def register_instance_wise(cls: type[nn.Module]) -> type[nn.Module]:
    """Class decorator: promises that a box head or predictor treats each RoI on its own.

    The fast engine needs one backward pass for all RoIs together, which is right only under that promise. Without it a
    head of one's own is explained by plain autograd.
    """
    INSTANCE_WISE_MODULES.add(cls)
    return cls


def assign_levels(pooler: ROIPooler, boxes: Tensor) -> Tensor:
    """(D,) int64: the level that `pooler` takes each XYXY box (D, 4) from; -1 from a pooler of somebody else's."""
    if type(pooler) is not ROIPooler:
        return torch.full((len(boxes),), -1, dtype=torch.int64, device=boxes.device)
    if len(pooler.level_poolers) == 1 or len(boxes) == 0:
        return torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    return assign_boxes_to_levels(
        [Boxes(boxes)], pooler.min_level, pooler.max_level, pooler.canonical_box_size, pooler.canonical_level
    )


class TracedBoxHead:
    """Says again what the box branch of RoI heads said, for the traced detections.

    Attributes:
        roi_heads: the detector's own RoI heads.
        proposals: N Instances with ``proposal_boxes``, all that the heads saw; None when the caller gave the boxes.
        pooled: (D, C, P, P) features of the traced RoIs as the detector pooled them, detached.
    """

    def __init__(self, roi_heads: StandardROIHeads, proposals: list[Instances] | None, pooled: Tensor):
        self.roi_heads = roi_heads
        self.proposals = proposals
        self.pooled = pooled

    @property
    def pooler(self) -> ROIPooler:
        """The pooler between feature levels and box head."""
        return self.roi_heads.box_pooler

    @property
    def instance_wise(self) -> bool:
        """Whether each RoI's outputs are known to depend on that RoI alone."""
        modules = (self.roi_heads.box_head, self.roi_heads.box_predictor)
        return all(type(module) in INSTANCE_WISE_MODULES for module in modules)

    def pool(self, features: Mapping[str, Tensor], trace: DetectionTrace) -> Tensor:
        """(D, C, P, P) pooled features of the traced RoIs."""
        boxes = _split(trace.references, trace.image_index, len(trace.image_sizes))
        return self.roi_heads.pool(features, [Boxes(b) for b in boxes])

    def predict_pooled(self, pooled: Tensor, trace: DetectionTrace) -> Predictions:
        """Predictions of the traced detections from (D, C, P, P) pooled features."""
        boxes = _split(trace.references, trace.image_index, len(trace.image_sizes))
        rows = torch.arange(len(trace), device=pooled.device)
        return self._decode(pooled, boxes, rows, trace)

    def predict(self, features: Mapping[str, Tensor], trace: DetectionTrace) -> Predictions:
        """Predictions of the traced detections from (N, C, H, W) features, with a graph back to them.

        Where RoIs may depend on each other, all proposals go through the head again, as they did in detection.
        """
        if self.instance_wise or self.proposals is None:
            return self.predict_pooled(self.pool(features, trace), trace)
        boxes = [p.proposal_boxes.tensor for p in self.proposals]
        counts = torch.tensor([len(b) for b in boxes], device=trace.rows.device)
        rows = trace.rows + (counts.cumsum(0) - counts)[trace.image_index]
        return self._decode(self.roi_heads.pool(features, [Boxes(b) for b in boxes]), boxes, rows, trace)

    def _decode(self, pooled: Tensor, boxes: list[Tensor], rows: Tensor, trace: DetectionTrace) -> Predictions:
        """Runs head and predictor and takes `rows` of what they say, for each row's traced class."""
        predictor, classes = self.roi_heads.box_predictor, trace.classes
        outputs = predictor(self.roi_heads.box_head(pooled))
        proposals = [Instances(size) for size in trace.image_sizes]
        for one, box in zip(proposals, boxes, strict=True):
            one.proposal_boxes = Boxes(box)
        probabilities = torch.cat(list(predictor.predict_probs(outputs, proposals)))
        decoded = torch.cat(list(predictor.predict_boxes(outputs, proposals)))
        decoded = decoded.view(len(decoded), decoded.shape[1] // 4, 4)[rows]
        which = classes if decoded.shape[1] > 1 else torch.zeros_like(classes)
        number = torch.arange(len(rows), device=rows.device)
        return Predictions(
            scores=probabilities[rows, classes], logits=outputs[0][rows, classes], boxes=decoded[number, which]
        )


def _split(boxes: Tensor, image_index: Tensor, num_images: int) -> list[Tensor]:
    """Rows of each picture; `image_index` is non-decreasing."""
    return list(boxes.split(torch.bincount(image_index, minlength=num_images).tolist()))


@ROI_HEADS_REGISTRY.register()
class OdamStandardROIHeads(StandardROIHeads):
    """``StandardROIHeads`` with the same weights and the same detections, which can also say where they came from."""

    def pool(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """(R, C, P, P): what the box head is given for the boxes of all pictures, in model-input pixels."""
        return self.box_pooler([features[name] for name in self.box_in_features], boxes)

    def detect(self, features: dict[str, Tensor], proposals: list[Instances]) -> tuple[list[Instances], Tensor]:
        """What inference returns, with the proposal row of each detection in the field ``odam_row``.

        Args:
            features: level name -> (N, C, H, W).
            proposals: N Instances with ``proposal_boxes``.

        Returns:
            N Instances in the model-input frame, and the (R, C, P, P) pooled features of all R proposals.
        """
        pooled = self.pool(features, [p.proposal_boxes for p in proposals])
        predictions = self.box_predictor(self.box_head(pooled))
        results, kept = self.box_predictor.inference(predictions, proposals)
        boxes = self.box_predictor.predict_boxes(predictions, proposals)
        scores = self.box_predictor.predict_probs(predictions, proposals)
        for result, index, box, score in zip(results, kept, boxes, scores, strict=True):
            result.set(ROW_FIELD, rows_of_kept(box, score, index))
        return self.forward_with_given_boxes(features, results), pooled

    def traced_head(self, proposals: list[Instances] | None, pooled: Tensor) -> TracedBoxHead:
        """The box branch as a function from features to predictions; see :class:`TracedBoxHead`."""
        return TracedBoxHead(self, proposals, pooled)
