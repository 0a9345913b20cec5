"""From a detector's trace to heat maps. All it knows of a detector is ``model.trace(batched_inputs)``."""

# Importing a method's file or an engine's registers it.
from .base import ENGINES, METHODS, Explainer, GradientEngine, register_engine, register_method
from .build import build_comparison, build_explainer
from .compare import MethodComparison
from .engines.autograd import AutogradEngine
from .engines.dense import DenseEngine
from .engines.roi import RoIEngine
from .from_config import comparison_from_config, explainer_from_config, explainer_options
from .methods import drise, gcame, gradcam, gradcam_pp, hirescam, layercam, random_maps, ssgradcam, ssgradcam_pp  # noqa: F401
from .methods.odam import ODAM
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
    "MethodComparison",
    "RoIEngine",
    "build_comparison",
    "build_explainer",
    "comparison_from_config",
    "explainer_from_config",
    "explainer_options",
    "known_attributes",
    "register_engine",
    "register_method",
]
