"""The one-stage detector with anchors that remembers where its detections came from."""

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, RetinaNet
from detectron2.structures import Boxes

from ..modeling.dense import TracedRetinaNetHead
from ..postprocess import ONE_STAGE, odam_nms_arguments
from .dense import DenseTraceMixin, anchor_fits
from .dense_training import DenseTrainingMixin


@META_ARCH_REGISTRY.register()
class OdamRetinaNet(DenseTrainingMixin, DenseTraceMixin, RetinaNet):
    """``RetinaNet`` with the same weights and the same detections, :meth:`trace` beside inference, and Odam-Train."""

    stock_class = RetinaNet
    traced_head_type = TracedRetinaNetHead

    @configurable
    def __init__(self, **kwargs):
        """Takes the keyword arguments of ``RetinaNet``, and ``odam_nms``; see :class:`DenseTraceMixin`."""
        super().__init__(**kwargs)

    @classmethod
    def from_config(cls, cfg) -> dict:
        """Arguments from a yaml config; none is published for Odam-NMS, so FCOS's stand in."""
        return {**super().from_config(cfg), **odam_nms_arguments(cfg, ONE_STAGE)}

    def match_given(self, boxes: torch.Tensor, anchors: list[Boxes]) -> torch.Tensor:
        """See :func:`anchor_fits`."""
        return anchor_fits(boxes, anchors, self.anchor_matcher)
