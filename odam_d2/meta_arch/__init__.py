"""What a config names under ``MODEL.META_ARCHITECTURE``."""

from .fcos import OdamFCOS
from .proposal_network import OdamProposalNetwork
from .rcnn import OdamRCNN
from .retinanet import OdamRetinaNet

__all__ = ["OdamFCOS", "OdamProposalNetwork", "OdamRCNN", "OdamRetinaNet"]
