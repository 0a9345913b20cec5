"""Parts of detectors that also keep the trace: same weights, same detections as Detectron2's own."""

from .backbone import (
    build_compact_resnet,
    build_compact_resnet_fpn_backbone,
    build_compact_retinanet_resnet_fpn_backbone,
    build_fcos_resnet_fpn_backbone,
)
from .cascade import OdamCascadeROIHeads
from .detr import ConditionalDetr, Detr, RTDetr, RTDetrV2
from .inference_copy import inference_copy
from .instance_wise import register_instance_wise
from .query_architecture import register_architecture
from .res5 import OdamRes5ROIHeads
from .roi_heads import OdamStandardROIHeads
from .rpn import OdamRPN

__all__ = [
    "ConditionalDetr",
    "Detr",
    "OdamCascadeROIHeads",
    "OdamRPN",
    "OdamRes5ROIHeads",
    "OdamStandardROIHeads",
    "RTDetr",
    "RTDetrV2",
    "build_compact_resnet",
    "build_compact_resnet_fpn_backbone",
    "build_compact_retinanet_resnet_fpn_backbone",
    "build_fcos_resnet_fpn_backbone",
    "inference_copy",
    "register_architecture",
    "register_instance_wise",
]
