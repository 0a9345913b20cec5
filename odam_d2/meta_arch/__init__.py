"""What a config names under ``MODEL.META_ARCHITECTURE``, and what takes in any other detector."""

from .adapters import register_adapter
from .built import BuiltDetector
from .callable import CallableDetector
from .detr import OdamDETR
from .fcos import OdamFCOS
from .graph import GraphDetector
from .locations import LocationDetector
from .matched import MatchedRCNN
from .panoptic_fpn import OdamPanopticFPN
from .proposal_network import OdamProposalNetwork
from .queries import QueryDetector
from .rcnn import OdamRCNN
from .retinanet import OdamRetinaNet

__all__ = [
    "BuiltDetector",
    "CallableDetector",
    "GraphDetector",
    "LocationDetector",
    "MatchedRCNN",
    "OdamDETR",
    "OdamFCOS",
    "OdamPanopticFPN",
    "OdamProposalNetwork",
    "OdamRCNN",
    "OdamRetinaNet",
    "QueryDetector",
    "register_adapter",
]
