"""What a detector's classes and keypoints are called, as far as its config tells."""

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from omegaconf import DictConfig

from ..data.categories import require_fitting_names
from ..data.coco import category_names
from ..data.dataset_names import dataset_names
from .num_classes import count_classes


def known_class_names(cfg: CfgNode | DictConfig, model: torch.nn.Module) -> tuple[str, ...] | None:
    """Names of a detector's classes, by number: those of the first data set in the config that has as many.

    Args:
        cfg: the detector's config, of either kind.
        model: the detector.

    Returns:
        The names; None where no data set has names, or the detector tells no classes apart (it proposes regions).

    Raises:
        ValueError: if data sets have names, but none as many as the detector has classes.
    """
    number = count_classes(model)
    datasets = (*dataset_names(cfg, "test"), *dataset_names(cfg, "train"))
    catalogued = [MetadataCatalog.get(dataset) for dataset in datasets]
    # A COCO file that was not read so far keeps its names to itself.
    found = (one.get("thing_classes") or category_names(one.get("json_file") or "", number) for one in catalogued)
    named = [tuple(names) for names in found if names]
    if not named or number is None:
        return None
    fitting = [names for names in named if len(names) == number]
    require_fitting_names((fitting or named)[0], number)
    return fitting[0]


def known_keypoint_names(cfg: CfgNode) -> tuple[str, ...]:
    """Names of a detector's keypoints, by number: those of the first data set in the config that has as many.

    Args:
        cfg: the detector's config.
    """
    catalogued = [MetadataCatalog.get(dataset) for dataset in (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN)]
    found = (tuple(one.get("keypoint_names") or ()) for one in catalogued)
    return next((names for names in found if len(names) == cfg.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS), ())
