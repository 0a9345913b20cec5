"""Parts of detectors that also keep the trace: same weights, same detections as Detectron2's own."""

from .backbone import (
    build_compact_resnet,
    build_compact_resnet_fpn_backbone,
    build_compact_retinanet_resnet_fpn_backbone,
    build_fcos_resnet_fpn_backbone,
)
from .cascade import OdamCascadeROIHeads
from .pooled import register_instance_wise
from .res5 import OdamRes5ROIHeads
from .roi_heads import OdamStandardROIHeads
from .rpn import OdamRPN

__all__ = [
    "OdamCascadeROIHeads",
    "OdamRPN",
    "OdamRes5ROIHeads",
    "OdamStandardROIHeads",
    "build_compact_resnet",
    "build_compact_resnet_fpn_backbone",
    "build_compact_retinanet_resnet_fpn_backbone",
    "build_fcos_resnet_fpn_backbone",
    "register_instance_wise",
]
