"""Numbers that say how good an explanation is."""

from .bootstrap import bootstrap_interval
from .candidates import object_scorer
from .discrimination import energy_in_objects, object_discrimination_index, pairs_of_objects
from .faithfulness import FaithfulnessCurves, faithfulness_curves
from .localization import (
    compactness,
    energy_inside,
    inside_boxes,
    pointing_game,
    sparsity,
    visual_explanation_accuracy,
)
from .matching import Matches, match_detections
from .sanity import SanityReport, sanity_checks

__all__ = [
    "FaithfulnessCurves",
    "Matches",
    "SanityReport",
    "bootstrap_interval",
    "compactness",
    "energy_in_objects",
    "energy_inside",
    "faithfulness_curves",
    "inside_boxes",
    "match_detections",
    "object_discrimination_index",
    "object_scorer",
    "pairs_of_objects",
    "pointing_game",
    "sanity_checks",
    "sparsity",
    "visual_explanation_accuracy",
]
