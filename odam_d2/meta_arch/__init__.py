"""What a config names under ``MODEL.META_ARCHITECTURE``."""

from .detr import OdamDETR
from .fcos import OdamFCOS
from .rcnn import OdamRCNN
from .retinanet import OdamRetinaNet

__all__ = ["OdamDETR", "OdamFCOS", "OdamRCNN", "OdamRetinaNet"]
