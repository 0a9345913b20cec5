"""One reader for every kind of config."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml
from detectron2.config import CfgNode, LazyConfig
from omegaconf import DictConfig, OmegaConf

from ..config import use_traced_architectures
from ..data import register_datasets
from ..model_zoo import find
from ..model_zoo.relative import find_beside
from ..utils.imports import import_file_or_module, look_in_working_directory
from .base import DetectorConfig
from .hooks import base_config, remedy_for, unknown_key
from .lazy_config import LazyDetectorConfig, load_lazy_config, require_model
from .overrides import apply_overrides
from .yaml_config import YamlConfig


def read_detector_config(
    config_file: str | os.PathLike,
    opts: Sequence[str] = (),
    imports: Sequence[str] = (),
    hooks: Sequence[str] = (),
    trained: bool = False,
    traced: bool = True,
    class_names: Sequence[str] | None = None,
) -> DetectorConfig:
    """The config that a command line describes: the file, then this machine's device, then the options.

    Args:
        config_file: a yaml file, a LazyConfig (``.py``, or the yaml that Detectron2 saves one as), or a name of either
            model zoo, see :func:`odam_d2.model_zoo.find`.
        opts: for yaml keys and values in turn; for a LazyConfig ``key=value`` as Hydra has them.
        imports: files or modules to import first.
        hooks: see :func:`odam_d2.loading.hooks.base_config`; for yaml.
        trained: whether to take the trained weights, if a model zoo has some for this config. By default they stay
            those that training begins with. An option overrides both.
        traced: whether to replace Detectron2's architectures by those that keep a trace.
        class_names: names of the detector's classes, by number; default those of the config's data sets.

    Returns:
        The config, on a GPU if there is one. The project's data sets are registered.

    Raises:
        ImportError: if an import fails.
        ValueError: if there is no such config, or it can't be read, or an option is unknown.
    """
    look_in_working_directory()
    for name in imports:
        import_file_or_module(name)
    file, weights = find(config_file)
    register_datasets()
    known_weights = weights if trained else None
    read: DetectorConfig
    if is_lazy(file):
        if hooks:
            raise ValueError(
                f"`--config-hook` must be left out for a LazyConfig; got {list(hooks)}: its own file imports what it "
                "needs"
            )
        read = _read_lazy(file, opts, known_weights, traced)
    else:
        read = _read_yaml(file, opts, imports, hooks, known_weights, traced)
    read.given_class_names = None if class_names is None else tuple(class_names)
    return read


def of_node(node: CfgNode | DictConfig) -> DetectorConfig:
    """A config that is there already, of either kind: a copy of it, with this project's architectures."""
    if isinstance(node, DictConfig):
        return LazyDetectorConfig(node)
    node = node.clone()
    node.defrost()
    use_traced_architectures(node)
    return YamlConfig(node)


def is_lazy(file: str | os.PathLike) -> bool:
    """Whether a file holds a LazyConfig: Python, or yaml that says what to build by ``_target_``."""
    if os.fspath(file).endswith(".py"):
        return True
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return bool(re.search(r"^model:", text, re.MULTILINE)) and "_target_" in text


def _read_lazy(file: str, opts: Sequence[str], weights: str | None, traced: bool) -> LazyDetectorConfig:
    node = load_lazy_config(file) if file.endswith(".py") else _load_saved(file)
    # Whatever was written there is replaced; what is left out is added.
    first = LazyDetectorConfig(node)
    if not torch.cuda.is_available():
        first.device = "cpu"
    if first.weights:
        OmegaConf.update(first.node, first.weights_key, find_beside(first.weights, file))
    if weights is not None:
        LazyConfig.apply_overrides(first.node, [f"train.init_checkpoint='{weights}'"])
    apply_overrides(first.node, opts)
    return LazyDetectorConfig(first.node, traced)


def _load_saved(file: str) -> DictConfig:
    try:
        return require_model(LazyConfig.load(file), file)
    except (yaml.YAMLError, ImportError, AttributeError) as error:
        raise ValueError(
            f"{file!r} must be a LazyConfig that can be read; it fails with {type(error).__name__}: {error}: name the "
            ".py file that it was saved from"
        ) from error


def _read_yaml(
    file: str, opts: Sequence[str], imports: Sequence[str], hooks: Sequence[str], weights: str | None, traced: bool
) -> YamlConfig:
    cfg = base_config(hooks)
    try:
        cfg.merge_from_file(file)
        cfg.MODEL.WEIGHTS = find_beside(cfg.MODEL.WEIGHTS, file)
        if not torch.cuda.is_available():
            cfg.MODEL.DEVICE = "cpu"
        if weights is not None:
            cfg.MODEL.WEIGHTS = weights
        cfg.merge_from_list(_pairs(opts))
    except (KeyError, AssertionError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        key = unknown_key(error)
        if key is not None:
            raise ValueError(
                f"keys of the config must be known; {file!r} with {list(opts)} has {key}, which neither Detectron2 nor "
                f"the node ODAM has{' with these hooks' if hooks else ''}: {remedy_for(key, imports, hooks)}"
            ) from error
        raise ValueError(
            f"the config must be Detectron2's with the node ODAM; {file!r} with {list(opts)}: {error}"
        ) from error
    if traced:
        use_traced_architectures(cfg)
    return YamlConfig(cfg)


def _pairs(opts: Sequence[str]) -> list[str]:
    """Keys and values in turn."""
    joined = [one for one in opts[::2] if re.fullmatch(r"[\w.+]+=.*", one)]
    if joined:
        key, _, value = joined[0].partition("=")
        raise ValueError(
            f"options of a yaml config are keys and values in turn; got {joined[0]!r}: write {key} {value}"
        )
    if len(opts) % 2:
        raise ValueError(f"options of a yaml config are keys and values in turn; got {len(opts)} words, {list(opts)}")
    return list(opts)
