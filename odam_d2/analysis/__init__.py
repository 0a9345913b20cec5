"""From detections to mistakes: what goes wrong in a data set, and what the maps say of it."""

from .error_weights import ERROR_TYPES, SPECIAL_TYPES, ErrorSummary, ErrorTally
from .errors import JudgedAnnotations, judge_detections, label_errors
from .image_errors import ImageErrors
from .verdicts import ErrorRules, Verdict

__all__ = [
    "ERROR_TYPES",
    "SPECIAL_TYPES",
    "ErrorRules",
    "ErrorSummary",
    "ErrorTally",
    "ImageErrors",
    "JudgedAnnotations",
    "Verdict",
    "judge_detections",
    "label_errors",
]
