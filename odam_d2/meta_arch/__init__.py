"""What a config names under ``MODEL.META_ARCHITECTURE``, and what takes in any other detector."""

from .adapters import register_adapter
from .built import BuiltDetector
from .callable import CallableDetector
from .detr import OdamDETR
from .fcos import OdamFCOS
from .graph import GraphDetector
from .panoptic_fpn import OdamPanopticFPN
from .proposal_network import OdamProposalNetwork
from .queries import QueryDetector
from .rcnn import OdamRCNN
from .retinanet import OdamRetinaNet

__all__ = [
    "BuiltDetector",
    "CallableDetector",
    "GraphDetector",
    "OdamDETR",
    "OdamFCOS",
    "OdamPanopticFPN",
    "OdamProposalNetwork",
    "OdamRCNN",
    "OdamRetinaNet",
    "QueryDetector",
    "register_adapter",
]
