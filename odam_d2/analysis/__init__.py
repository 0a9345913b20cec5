"""From detections to mistakes: what goes wrong in a data set, and what the maps say of it."""

from .atlas import Atlas, MeanMaps
from .context import HeatContext, ObjectRegions, heat_context, own_objects
from .context_matrix import ContextMatrix, ContextSummary
from .error_weights import ERROR_TYPES, SPECIAL_TYPES, ErrorSummary, ErrorTally
from .errors import JudgedAnnotations, judge_detections, label_errors
from .image_errors import ImageErrors
from .maps_of_mistakes import explain_mistakes
from .mistakes import Mistake
from .verdicts import ErrorRules, Verdict

__all__ = [
    "ERROR_TYPES",
    "SPECIAL_TYPES",
    "Atlas",
    "ContextMatrix",
    "ContextSummary",
    "ErrorRules",
    "ErrorSummary",
    "ErrorTally",
    "HeatContext",
    "ImageErrors",
    "JudgedAnnotations",
    "MeanMaps",
    "Mistake",
    "ObjectRegions",
    "Verdict",
    "explain_mistakes",
    "heat_context",
    "judge_detections",
    "label_errors",
    "own_objects",
]
