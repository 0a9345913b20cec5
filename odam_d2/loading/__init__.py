"""From a config of either kind to a detector, what it takes as input, and what its classes are called."""

from .base import DetectorConfig
from .read import read_detector_config

__all__ = ["DetectorConfig", "read_detector_config"]
