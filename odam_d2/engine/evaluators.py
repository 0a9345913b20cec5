"""Evaluators by a data set's ``evaluator_type``."""

from collections.abc import Callable

from detectron2.evaluation import COCOEvaluator, DatasetEvaluator, DatasetEvaluators

from ..evaluation import CrowdHumanEvaluator
from ..evaluation.crowd.protocol import DEFAULT_PROTOCOL
from .coco_evaluation import build_coco_evaluator
from .official_evaluators import (
    build_cityscapes_instance,
    build_cityscapes_panoptic,
    build_cityscapes_sem_seg,
    build_lvis,
    build_panoptic,
    build_pascal_voc,
    build_sem_seg,
)


def build_coco(dataset_name: str, output_dir: str, protocol: str = DEFAULT_PROTOCOL) -> COCOEvaluator:
    """COCO's figures, see :func:`odam_d2.engine.coco_evaluation.build_coco_evaluator`; `protocol` is of crowds."""
    return build_coco_evaluator(dataset_name, output_dir)


def build_crowd(dataset_name: str, output_dir: str, protocol: str = DEFAULT_PROTOCOL) -> CrowdHumanEvaluator:
    """CrowdHuman's figures by the rules that `protocol` names, see ``ODAM.TEST.CROWD_PROTOCOL``."""
    return CrowdHumanEvaluator(dataset_name, output_dir, protocol=protocol)


def build_coco_and_crowd(dataset_name: str, output_dir: str, protocol: str = DEFAULT_PROTOCOL) -> DatasetEvaluators:
    """Both, from one inference, for crowds that have COCO's annotations as well."""
    return DatasetEvaluators([build_coco(dataset_name, output_dir), build_crowd(dataset_name, output_dir, protocol)])


def build_coco_and_panoptic(dataset_name: str, output_dir: str, protocol: str = DEFAULT_PROTOCOL) -> DatasetEvaluators:
    """IoU of pixels' classes, COCO's figures and PQ, from one inference."""
    panoptic = build_panoptic(dataset_name, output_dir)  # first, since it can lack its package
    parts = [build_sem_seg(dataset_name, output_dir), build_coco(dataset_name, output_dir, protocol)]
    return DatasetEvaluators([*parts, panoptic])


def _without_protocol(build: Callable[[str, str], DatasetEvaluator]) -> Callable[[str, str, str], DatasetEvaluator]:
    def build_anyway(dataset_name: str, output_dir: str, protocol: str = DEFAULT_PROTOCOL) -> DatasetEvaluator:
        del protocol
        return build(dataset_name, output_dir)

    return build_anyway


# Called with (name of the data set, folder of results, protocol of crowds).
EVALUATORS: dict[str, Callable[[str, str, str], DatasetEvaluator]] = {
    "cityscapes_instance": _without_protocol(build_cityscapes_instance),
    "cityscapes_panoptic_seg": _without_protocol(build_cityscapes_panoptic),
    "cityscapes_sem_seg": _without_protocol(build_cityscapes_sem_seg),
    "coco": build_coco,
    "coco_and_crowd": build_coco_and_crowd,
    "coco_panoptic_seg": build_coco_and_panoptic,
    "crowdhuman": build_crowd,
    "lvis": _without_protocol(build_lvis),
    "pascal_voc": _without_protocol(build_pascal_voc),
    "sem_seg": _without_protocol(build_sem_seg),
}
# Of these, the ones that boxes with classes and scores are enough for.
BOXES = ("coco", "coco_and_crowd", "crowdhuman", "lvis", "pascal_voc")
# Of these, the ones that judge all images of the data set, whichever the detector has seen.
ALL_IMAGES = ("lvis", "pascal_voc")
# Of these, the ones with figures of crowds.
CROWDS = ("coco_and_crowd", "crowdhuman")
