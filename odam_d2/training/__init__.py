"""Odam-Train: which heat maps are compared in training, how they come about with a graph, and the losses on them."""

from .explanation_losses import ExplanationLosses

__all__ = ["ExplanationLosses"]
