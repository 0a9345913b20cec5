"""What a detector's classes and keypoints are called, as far as its config tells."""

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from omegaconf import DictConfig

from ..data.categories import require_fitting_names
from ..data.coco import category_names
from ..data.dataset_names import dataset_names
from ..utils.untyped import UntypedModule
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


def known_keypoint_names(cfg: CfgNode | DictConfig, number: int) -> tuple[str, ...]:
    """Names of a detector's keypoints, by number: those of the first data set in the config that has as many.

    Args:
        cfg: the detector's config, of either kind.
        number: of the detector's keypoints.
    """
    datasets = (*dataset_names(cfg, "test"), *dataset_names(cfg, "train"))
    found = (tuple(MetadataCatalog.get(dataset).get("keypoint_names") or ()) for dataset in datasets)
    return next((names for names in found if len(names) == number), ())


def name_keypoints(model: UntypedModule, cfg: CfgNode | DictConfig) -> None:
    """Tells a detector, in place, what its keypoints are called, if it has some and was not told."""
    heads: UntypedModule = getattr(model, "roi_heads", None)
    if getattr(heads, "keypoint_on", False) and not getattr(model, "keypoint_names", ()):
        model.keypoint_names = known_keypoint_names(cfg, getattr(heads.keypoint_head, "num_keypoints", 0))
