"""Parts of detectors that also keep the trace: same weights, same detections as Detectron2's own."""

from .backbone import (
    build_compact_resnet,
    build_compact_resnet_fpn_backbone,
    build_compact_retinanet_resnet_fpn_backbone,
)
from .roi_heads import OdamStandardROIHeads, register_instance_wise

__all__ = [
    "OdamStandardROIHeads",
    "build_compact_resnet",
    "build_compact_resnet_fpn_backbone",
    "build_compact_retinanet_resnet_fpn_backbone",
    "register_instance_wise",
]
