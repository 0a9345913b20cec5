"""The one-stage detector with points that remembers where its detections came from."""

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.modeling.meta_arch.fcos import FCOS, FCOSHead
from detectron2.structures import Boxes

from ..modeling.dense import TracedFCOSHead
from ..postprocess import ONE_STAGE, odam_nms_arguments
from .dense import DenseTraceMixin
from .dense_training import DenseTrainingMixin
from .training import training_arguments


@META_ARCH_REGISTRY.register()
class OdamFCOS(DenseTrainingMixin, DenseTraceMixin, FCOS):
    """``FCOS`` with the same weights and the same detections, :meth:`trace`, Odam-Train, and a yaml config.

    Detectron2's own FCOS is configured in Python only (LazyConfig), which works for this class too; from yaml the
    keys below ``ODAM.FCOS`` are read.
    """

    stock_class = FCOS
    traced_head_type = TracedFCOSHead
    extra_attributes = ("centerness",)

    @configurable
    def __init__(self, **kwargs):
        """Takes the keyword arguments of ``FCOS``, ``DenseTrainingMixin`` and ``DenseTraceMixin``."""
        super().__init__(**kwargs)

    @classmethod
    def from_config(cls, cfg) -> dict:
        """Arguments of ``FCOS`` from a yaml config."""
        backbone, fcos = build_backbone(cfg), cfg.ODAM.FCOS
        shapes = [backbone.output_shape()[name] for name in fcos.IN_FEATURES]
        head = FCOSHead(
            input_shape=shapes,
            num_classes=fcos.NUM_CLASSES,
            conv_dims=[shapes[0].channels] * fcos.NUM_CONVS,
            norm=fcos.NORM,
            prior_prob=fcos.PRIOR_PROB,
        )
        return {
            "backbone": backbone,
            "head": head,
            "head_in_features": list(fcos.IN_FEATURES),
            "num_classes": fcos.NUM_CLASSES,
            "center_sampling_radius": fcos.CENTER_SAMPLING_RADIUS,
            "focal_loss_alpha": fcos.FOCAL_LOSS_ALPHA,
            "focal_loss_gamma": fcos.FOCAL_LOSS_GAMMA,
            "test_score_thresh": fcos.SCORE_THRESH_TEST,
            "test_topk_candidates": fcos.TOPK_CANDIDATES_TEST,
            "test_nms_thresh": fcos.NMS_THRESH_TEST,
            "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            **odam_nms_arguments(cfg, ONE_STAGE),
            **training_arguments(cfg),
        }

    def losses(self, anchors, pred_logits, gt_labels, pred_anchor_deltas, gt_boxes, pred_centerness) -> dict:
        """The stock losses in single precision: under autocast the stock method mixes types, which indexing refuses."""
        predictions = (pred_logits, pred_anchor_deltas, pred_centerness)
        logits, deltas, centerness = ([level.float() for level in levels] for levels in predictions)
        with torch.autocast(self.device.type, enabled=False):
            return super().losses(anchors, logits, gt_labels, deltas, gt_boxes, centerness)

    def match_given(self, boxes: torch.Tensor, anchors: list[Boxes]) -> torch.Tensor:
        """How near each location is to the centre of (R, 4) boxes, in (0, 1]; zero where training would not take it."""
        candidates = self._match_anchors(Boxes(boxes), anchors) > 0
        centres = Boxes.cat(anchors).get_centers()
        distance = (centres[None] - Boxes(boxes).get_centers()[:, None]).norm(dim=2)
        return torch.where(candidates, 1.0 / (1.0 + distance), 0.0)
