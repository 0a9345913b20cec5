"""The two things that travel: what a detector remembers of its detections, and their heat maps."""

from .heatmaps import COMBINED_PARTS, CORNERS, SIDES, HeatMaps
from .trace import DetectionTrace, Predictions, TracedHead

__all__ = ["COMBINED_PARTS", "CORNERS", "SIDES", "DetectionTrace", "HeatMaps", "Predictions", "TracedHead"]
