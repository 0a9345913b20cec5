"""Evaluators by a data set's ``evaluator_type``."""

from collections.abc import Callable

from detectron2.evaluation import COCOEvaluator, DatasetEvaluator, DatasetEvaluators

from ..evaluation import CrowdHumanEvaluator


def build_coco(dataset_name: str, output_dir: str) -> COCOEvaluator:
    """COCO's figures, in the variant that doesn't need Detectron2's compiled operators."""
    return COCOEvaluator(dataset_name, output_dir=output_dir, use_fast_impl=False)


def build_coco_and_crowd(dataset_name: str, output_dir: str) -> DatasetEvaluators:
    """Both, from one inference, for crowds that have COCO's annotations as well."""
    return DatasetEvaluators([build_coco(dataset_name, output_dir), CrowdHumanEvaluator(dataset_name, output_dir)])


# Called with (name of the data set, folder of results).
EVALUATORS: dict[str, Callable[[str, str], DatasetEvaluator]] = {
    "coco": build_coco,
    "coco_and_crowd": build_coco_and_crowd,
    "crowdhuman": CrowdHumanEvaluator,
}
