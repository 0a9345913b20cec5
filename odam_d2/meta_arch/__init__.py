"""What a config names under ``MODEL.META_ARCHITECTURE``."""

from .rcnn import OdamRCNN

__all__ = ["OdamRCNN"]
