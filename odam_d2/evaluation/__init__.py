"""Numbers that say how good an explanation is."""

from ..data.coco import records_from_coco, records_from_dataset
from ..data.matching import Matches, match_detections
from .bootstrap import bootstrap_interval
from .crowd.evaluator import CrowdHumanEvaluator
from .crowd.matching import CrowdMatches, match_crowd
from .crowd.metrics import average_precision, jaccard_index, log_average_miss_rate, pool_matches
from .crowd.objects import CrowdObjects
from .crowd.table import crowd_table
from .ground_truth import TrueObjects
from .metrics.builtin import METRICS
from .metrics.candidates import object_scorer
from .metrics.discrimination import energy_in_objects, object_discrimination_index, pairs_of_objects
from .metrics.faithfulness import FaithfulnessCurves, faithfulness_curves
from .metrics.localization import (
    compactness,
    energy_inside,
    inside_boxes,
    pointing_game,
    sparsity,
    visual_explanation_accuracy,
)
from .metrics.metric import ExplainedObjects, Metric, register_metric
from .metrics.sanity import SanityReport, sanity_checks
from .metrics.stability import noisy_image, stability
from .runs.evaluator import ExplanationEvaluator, GuardedComparison
from .runs.measuring import Measuring
from .runs.paired import PairedDifference, paired_differences
from .runs.store import ResultStore
from .runs.timing import TimedComparison

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
    "noisy_image",
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
