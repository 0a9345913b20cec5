"""Which data sets a config of either kind is for."""

from collections.abc import Iterator
from typing import Any

from detectron2.config import CfgNode
from omegaconf import DictConfig, ListConfig, OmegaConf

# Where a LazyConfig has them, by the split.
_PLACES = {"test": ("dataloader.test", "dataloader.evaluator"), "train": ("dataloader.train",)}


def dataset_names(cfg: CfgNode | DictConfig, split: str) -> tuple[str, ...]:
    """Names in Detectron2's catalogs of the data sets that a config names.

    Args:
        cfg: a yaml config, which has them in ``DATASETS``; or a LazyConfig, which has them as arguments ``names`` and
            ``dataset_name`` below ``dataloader``.
        split: ``test`` or ``train``.
    """
    if isinstance(cfg, CfgNode):
        return tuple(cfg.DATASETS.TEST if split == "test" else cfg.DATASETS.TRAIN)
    nodes = (OmegaConf.select(cfg, place, default=None) for place in _PLACES[split])
    return tuple(dict.fromkeys(name for node in nodes for name in _names_below(node)))


def _names_below(node: Any) -> Iterator[str]:
    if isinstance(node, DictConfig):
        keys: list[Any] = [key for key in node if not OmegaConf.is_missing(node, key)]
        for key in keys:
            value = node[key]
            if key in ("names", "dataset_name", "dataset_names"):
                yield from [value] if isinstance(value, str) else [one for one in value or () if isinstance(one, str)]
            else:
                yield from _names_below(value)
    elif isinstance(node, ListConfig):
        for value in node:
            yield from _names_below(value)
