"""The one-stage detector with anchors that remembers where its detections came from."""

import torch
from detectron2.modeling import META_ARCH_REGISTRY, RetinaNet
from detectron2.structures import Boxes, pairwise_iou

from ..modeling.dense import TracedRetinaNetHead
from .dense import DenseTraceMixin


@META_ARCH_REGISTRY.register()
class OdamRetinaNet(DenseTraceMixin, RetinaNet):
    """``RetinaNet`` with the same weights and the same detections, and :meth:`trace` beside inference."""

    traced_head_type = TracedRetinaNetHead

    def match_given(self, boxes: torch.Tensor, anchors: list[Boxes]) -> torch.Tensor:
        """IoU of (R, 4) boxes with every anchor; zero where training would never pair the two.

        With low-quality matches, RetinaNet's default, an object's best anchor is trained on whatever their IoU.
        """
        iou = pairwise_iou(Boxes(boxes), Boxes.cat(anchors))
        if self.anchor_matcher.allow_low_quality_matches:
            return iou
        background = self.anchor_matcher.thresholds[1]
        return torch.where(iou >= background, iou, 0.0)
