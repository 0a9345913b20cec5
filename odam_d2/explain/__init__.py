"""From a detector's trace to heat maps. Knows a detector only by ``model.trace(batched_inputs)``."""

from .autograd import AutogradEngine
from .base import ENGINES, METHODS, Explainer, GradientEngine, register_engine, register_method
from .build import build_explainer
from .dense import DenseEngine
from .odam import ODAM
from .roi import RoIEngine
from .targets import TARGETS, known_attributes

__all__ = [
    "ENGINES",
    "METHODS",
    "ODAM",
    "TARGETS",
    "AutogradEngine",
    "DenseEngine",
    "Explainer",
    "GradientEngine",
    "RoIEngine",
    "build_explainer",
    "known_attributes",
    "register_engine",
    "register_method",
]
