"""Evaluators by a data set's ``evaluator_type``."""

from collections.abc import Callable

from detectron2.evaluation import COCOEvaluator, DatasetEvaluator, DatasetEvaluators

from ..evaluation import CrowdHumanEvaluator
from ..evaluation.crowd.protocol import DEFAULT_PROTOCOL
from .coco_evaluation import build_coco_evaluator


def build_coco(dataset_name: str, output_dir: str, protocol: str = DEFAULT_PROTOCOL) -> COCOEvaluator:
    """COCO's figures, see :func:`odam_d2.engine.coco_evaluation.build_coco_evaluator`; `protocol` is of crowds."""
    return build_coco_evaluator(dataset_name, output_dir)


def build_crowd(dataset_name: str, output_dir: str, protocol: str = DEFAULT_PROTOCOL) -> CrowdHumanEvaluator:
    """CrowdHuman's figures by the rules that `protocol` names, see ``ODAM.TEST.CROWD_PROTOCOL``."""
    return CrowdHumanEvaluator(dataset_name, output_dir, protocol=protocol)


def build_coco_and_crowd(dataset_name: str, output_dir: str, protocol: str = DEFAULT_PROTOCOL) -> DatasetEvaluators:
    """Both, from one inference, for crowds that have COCO's annotations as well."""
    return DatasetEvaluators([build_coco(dataset_name, output_dir), build_crowd(dataset_name, output_dir, protocol)])


# Called with (name of the data set, folder of results, protocol of crowds).
EVALUATORS: dict[str, Callable[[str, str, str], DatasetEvaluator]] = {
    "coco": build_coco,
    "coco_and_crowd": build_coco_and_crowd,
    "crowdhuman": build_crowd,
}
# Of these, the ones with figures of crowds.
CROWDS = ("coco_and_crowd", "crowdhuman")
