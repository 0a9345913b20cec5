"""Numbers that say how good an explanation is."""

from .bootstrap import bootstrap_interval
from .candidates import object_scorer
from .crowd_matching import CrowdMatches, match_crowd
from .crowd_metrics import average_precision, jaccard_index, log_average_miss_rate, pool_matches
from .crowd_objects import CrowdObjects
from .crowd_table import crowd_table
from .crowdhuman_evaluator import CrowdHumanEvaluator
from .discrimination import energy_in_objects, object_discrimination_index, pairs_of_objects
from .explanation_evaluator import ExplanationEvaluator, GuardedComparison
from .faithfulness import FaithfulnessCurves, faithfulness_curves
from .ground_truth import TrueObjects, records_from_coco, records_from_dataset
from .localization import (
    compactness,
    energy_inside,
    inside_boxes,
    pointing_game,
    sparsity,
    visual_explanation_accuracy,
)
from .matching import Matches, match_detections
from .measuring import Measuring
from .metric import ExplainedObjects, Metric, register_metric
from .metrics import METRICS
from .paired import PairedDifference, paired_differences
from .sanity import SanityReport, sanity_checks
from .stability import noisy_picture, stability
from .store import ResultStore
from .timing import TimedComparison

__all__ = [
    "METRICS",
    "CrowdHumanEvaluator",
    "CrowdMatches",
    "CrowdObjects",
    "ExplainedObjects",
    "ExplanationEvaluator",
    "FaithfulnessCurves",
    "GuardedComparison",
    "Matches",
    "Measuring",
    "Metric",
    "PairedDifference",
    "ResultStore",
    "SanityReport",
    "TimedComparison",
    "TrueObjects",
    "average_precision",
    "bootstrap_interval",
    "compactness",
    "crowd_table",
    "energy_in_objects",
    "energy_inside",
    "faithfulness_curves",
    "inside_boxes",
    "jaccard_index",
    "log_average_miss_rate",
    "match_crowd",
    "match_detections",
    "noisy_picture",
    "object_discrimination_index",
    "object_scorer",
    "paired_differences",
    "pairs_of_objects",
    "pointing_game",
    "pool_matches",
    "records_from_coco",
    "records_from_dataset",
    "register_metric",
    "sanity_checks",
    "sparsity",
    "stability",
    "visual_explanation_accuracy",
]
