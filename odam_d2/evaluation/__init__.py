"""Numbers that say how good an explanation is."""

from .localization import (
    compactness,
    energy_inside,
    inside_boxes,
    pointing_game,
    sparsity,
    visual_explanation_accuracy,
)

__all__ = [
    "compactness",
    "energy_inside",
    "inside_boxes",
    "pointing_game",
    "sparsity",
    "visual_explanation_accuracy",
]
