"""What a user who evaluates explanations or detections of crowds needs; everything else is in its own module."""

from ..data.coco import records_from_coco
from ..data.matching import match_detections
from ..data.records import records_from_dataset
from .bootstrap import bootstrap_interval
from .crowd.evaluator import CrowdHumanEvaluator
from .crowd.table import crowd_table
from .ground_truth import TrueObjects
from .metrics.builtin import METRICS
from .metrics.candidates import object_scorer
from .metrics.faithfulness import faithfulness_curves
from .metrics.metric import ExplainedObjects, Metric, register_metric
from .metrics.sanity import sanity_checks
from .runs.evaluator import ExplanationEvaluator
from .runs.measuring import Measuring
from .runs.paired import paired_differences

__all__ = [
    "METRICS",
    "CrowdHumanEvaluator",
    "ExplainedObjects",
    "ExplanationEvaluator",
    "Measuring",
    "Metric",
    "TrueObjects",
    "bootstrap_interval",
    "crowd_table",
    "faithfulness_curves",
    "match_detections",
    "object_scorer",
    "paired_differences",
    "records_from_coco",
    "records_from_dataset",
    "register_metric",
    "sanity_checks",
]
