"""Evaluators by a data set's ``evaluator_type``."""

from collections.abc import Callable

from detectron2.evaluation import COCOEvaluator, DatasetEvaluator

from ..evaluation import CrowdHumanEvaluator


def build_coco(dataset_name: str, output_dir: str) -> COCOEvaluator:
    """COCO's figures, in the variant that doesn't need Detectron2's compiled operators."""
    return COCOEvaluator(dataset_name, output_dir=output_dir, use_fast_impl=False)


# Called with (name of the data set, folder of results).
EVALUATORS: dict[str, Callable[[str, str], DatasetEvaluator]] = {
    "coco": build_coco,
    "crowdhuman": CrowdHumanEvaluator,
}
