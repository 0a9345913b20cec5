"""Detectors from LazyConfigs."""

from __future__ import annotations

import builtins
import copy
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
import yaml
from detectron2.config import CfgNode, LazyConfig, instantiate
from detectron2.utils.registry import locate
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import nn

from ..config import odam_node, use_traced_architectures
from ..data.inputs import InputMaker
from ..data.mapper import input_maker, mapper_format
from ..meta_arch.callable import CallableDetector
from ..meta_arch.fcos import OdamFCOS
from ..meta_arch.rcnn import OdamRCNN
from ..meta_arch.retinanet import OdamRetinaNet
from ..meta_arch.training import training_arguments
from ..postprocess import ONE_STAGE, TWO_STAGE, odam_nms_arguments
from ..utils.compiled import is_compiled
from ..utils.packed import state_checksum
from ..utils.untyped import UntypedModule
from .base import DetectorConfig
from .limits import limit_detector, most_detections

if TYPE_CHECKING:
    from detectron2.evaluation import DatasetEvaluator


def load_lazy_config(path: str) -> DictConfig:
    """Runs the ``.py`` file of a LazyConfig and returns its nodes.

    Raises:
        ValueError: if running it fails, or it defines no ``model``.
    """
    try:
        with _own_import_back():
            cfg = LazyConfig.load(path)
    # It is a program.
    except Exception as error:
        reason = " ".join(str(error).split()) or "no reason given"
        cause = f" ({' '.join(str(error.__cause__).split())})" if error.__cause__ is not None else ""
        raise ValueError(
            f"the LazyConfig must run without an error; {path!r} fails with {type(error).__name__}: {reason}{cause}; "
            "modules are looked for in the working directory too, so run this where the config's project is"
        ) from error
    return require_model(cfg, path)


def require_model(cfg: Any, name: str) -> DictConfig:
    """The LazyConfig itself; raises ValueError where it describes no ``model``."""
    if not isinstance(cfg, DictConfig) or cfg.get("model") is None:
        has = list(cfg) if isinstance(cfg, DictConfig) else type(cfg).__name__
        raise ValueError(f"a LazyConfig must define `model`; {name} has {has}: define model = LazyCall(...)(...)")
    return cfg


@contextmanager
def _own_import_back() -> Iterator[None]:
    """Puts Python's own ``import`` back: Detectron2 leaves its own in place where a config file fails."""
    own = builtins.__import__
    try:
        yield
    finally:
        builtins.__import__ = own


class LazyDetectorConfig(DetectorConfig):
    """A LazyConfig: ``model``, and where they are there ``train``, ``dataloader`` and ``odam``.

    Args:
        node: the LazyConfig; a copy of it is kept.
        traced: whether to build this project's detectors in the place of Detectron2's own.

    Raises:
        ValueError: if `node` has no ``model``, or its ``odam`` can't be read.
    """

    weights_key = "train.init_checkpoint"
    datasets_key = "dataloader"

    def __init__(self, node: DictConfig, traced: bool = True):
        self.node = copy.deepcopy(require_model(node, "it"))
        self.odam = odam_node(self.node)
        self.traced = traced
        self._limits: tuple[float | None, int | None] = (None, None)
        self._most: int | None = None

    @property
    def weights(self) -> str:
        """See :class:`DetectorConfig`."""
        return OmegaConf.select(self.node, self.weights_key, default=None) or ""

    @property
    def device(self) -> str:
        """See :class:`DetectorConfig`."""
        named = OmegaConf.select(self.node, "train.device", default=None)
        return str(named or ("cuda" if torch.cuda.is_available() else "cpu"))

    @device.setter
    def device(self, device: str) -> None:
        # Some projects' models have an argument `device` of their own, with a copy of what `train.device` was.
        _set_devices(self.node.model, device)
        OmegaConf.update(self.node, "train.device", device, force_add=True)

    @property
    def architecture(self) -> str:
        """See :class:`DetectorConfig`."""
        target = self.node.model.get("_target_") if isinstance(self.node.model, DictConfig) else type(self.node.model)
        return target if isinstance(target, str) else getattr(target, "__name__", str(target))

    @property
    def output_folder(self) -> str:
        """See :class:`DetectorConfig`."""
        return OmegaConf.select(self.node, "train.output_dir", default=None) or "./output"

    @property
    def num_workers(self) -> int:
        """See :class:`DetectorConfig`."""
        return OmegaConf.select(self.node, "dataloader.test.num_workers", default=None) or 0

    @property
    def most_detections(self) -> int | None:
        """See :class:`DetectorConfig`; known once the detector is built."""
        return self._most

    def limit(self, score_threshold: float | None, max_detections: int | None) -> None:
        """See :class:`DetectorConfig`."""
        self._limits = (score_threshold, max_detections)

    def make_input(self) -> InputMaker:
        """See :class:`DetectorConfig`."""
        return input_maker(self.node)

    def text(self) -> str:
        """See :class:`DetectorConfig`."""
        # Only what the detections and explanations depend on; a schedule may change.
        test = OmegaConf.select(self.node, "dataloader.test.mapper", default=None)
        parts = {"model": self.node.model, "mapper": test, "limits": list(self._limits)}
        written = yaml.safe_dump({name: _written(value) for name, value in parts.items()}, sort_keys=True)
        return f"{written}odam: {self.odam.dump()}"

    def evaluator(self, dataset: str, folder: str) -> DatasetEvaluator:
        """See :class:`DetectorConfig`: the config's own where it is for this data set, else that of its metadata."""
        from detectron2.evaluation import COCOEvaluator, LVISEvaluator

        from ..engine import OdamTrainer
        from ..engine.official_evaluators import NumpyLVISEvaluator

        node = OmegaConf.select(self.node, "dataloader.evaluator", default=None)
        if not isinstance(node, DictConfig) or node.get("dataset_name") != dataset:
            return OdamTrainer.build_evaluator(CfgNode({"OUTPUT_DIR": folder, "ODAM": self.odam}), dataset, folder)
        built = copy.deepcopy(node)
        built.output_dir = folder
        if built.get("_target_") is COCOEvaluator and built.get("use_fast_impl") is None:
            built.use_fast_impl = is_compiled()
        if built.get("_target_") is LVISEvaluator:
            built._target_ = NumpyLVISEvaluator
        return instantiate(built)

    def train_samples(self) -> tuple[Iterator[dict], str]:
        """See :class:`DetectorConfig`."""
        node = OmegaConf.select(self.node, "dataloader.train", default=None)
        if node is None:
            raise ValueError("a LazyConfig must have `dataloader.train` to show what is seen in training; it has none")
        node = copy.deepcopy(node)
        node.num_workers = 0
        return chain.from_iterable(instantiate(node)), mapper_format(self.node, "train")

    def load_weights(self, model: nn.Module) -> None:
        """See :class:`DetectorConfig`; a ``CallableDetector`` may come with weights, and the config name none."""
        if self.weights or not self._brings_weights():
            super().load_weights(model)

    def weights_fingerprint(self, model: nn.Module) -> str:
        """See :class:`DetectorConfig`."""
        return super().weights_fingerprint(model) if self.weights else state_checksum(model.state_dict())

    def require_weights(self) -> None:
        """See :class:`DetectorConfig`; of a ``CallableDetector`` it is not known how it gets its weights."""
        if not self._brings_weights():
            super().require_weights()

    def _brings_weights(self) -> bool:
        return isinstance(self.node.model, DictConfig) and _is_a(self.node.model.get("_target_"), CallableDetector)

    def weights_option(self) -> str:
        """See :class:`DetectorConfig`."""
        return f"{self.weights_key}=PATH"

    def require_trainable(self, eval_only: bool) -> None:
        """Raises ValueError where something is asked for that training from a LazyConfig doesn't do.

        Args:
            eval_only: whether the detector is only evaluated.
        """
        if self.odam.TRAIN.WATCH_PERIOD > 0:
            raise ValueError(
                f"`odam.train.watch_period` must be 0 for a LazyConfig; got {self.odam.TRAIN.WATCH_PERIOD}: watch "
                "explanations of a detector from yaml, or measure checkpoints with odam evaluate"
            )
        needed = (
            ("dataloader.test", "dataloader.evaluator") if eval_only else ("optimizer", "lr_multiplier", "dataloader")
        )
        missing = [name for name in needed if OmegaConf.select(self.node, name, default=None) is None]
        if missing:
            raise ValueError(f"a LazyConfig must have {list(needed)} for odam train; {missing} are missing: add them")
        if OmegaConf.select(self.node, "dataloader.test") is not None and self.make_input().padding is not None:
            raise ValueError(
                "`dataloader.test.mapper` must not pad images in odam train, where Detectron2 tells boxes in the frame "
                "of the padded image; got a FixedSizeCrop: leave it out, and measure by odam evaluate"
            )

    def build_to_train(self) -> UntypedModule:
        """The detector in training mode with random weights; with Odam-Train's losses where ``odam.train`` asks.

        Raises:
            ValueError: if it can't be built, or can't be trained by explanations and is asked to.
        """
        try:
            wanted = {"odam_losses": self.odam.TRAIN.WEIGHT > 0, "odam_nms": self.odam.NMS.ENABLED}
            return self._built([name for name, is_wanted in wanted.items() if is_wanted], traced=False).train()
        # A config can be wrong in many ways.
        except Exception as error:
            raise ValueError(f"the config must describe a detector; building it failed: {error}") from error

    def _build(self) -> nn.Module:
        model = self._built(("odam_nms",) if self.odam.NMS.ENABLED else (), self.traced)
        limit_detector(model, *self._limits)
        self._most = most_detections(model)
        return model

    def _built(self, additions: Sequence[str], traced: bool) -> nn.Module:
        """The detector, with arguments that only this project's own have: ``odam_nms``, ``odam_losses``."""
        node, cfg = copy.deepcopy(self.node), CfgNode({"ODAM": self.odam})
        if traced or additions:
            use_traced_architectures(node.model)
        if additions:
            kind = node.model.get("_target_")
            published = next((values for one, values in _PUBLISHED.items() if _is_a(kind, one)), None)
            if published is None:
                raise ValueError(
                    "`odam.nms.enabled` must be False and `odam.train.weight` 0 for a detector of a project's own; got "
                    f"{self.architecture}: Odam-NMS and Odam-Train are for Detectron2's own two-stage detectors, "
                    "RetinaNet and FCOS"
                )
            known = {**odam_nms_arguments(cfg, published), **training_arguments(cfg)}
            for name in additions:
                node.model[name] = known[name]
        model = instantiate(node.model)
        if not isinstance(model, nn.Module):
            raise TypeError(f"`model` must build a torch module; got {type(model).__name__}")
        return model.to(self.device)


# What Odam-NMS takes where nothing is said, by this project's detectors.
_PUBLISHED: dict[type, Any] = {OdamRCNN: TWO_STAGE, OdamRetinaNet: ONE_STAGE, OdamFCOS: ONE_STAGE}


def _is_a(target: Any, kind: type) -> bool:
    found = locate(target) if isinstance(target, str) else target
    return isinstance(found, type) and issubclass(found, kind)


def _set_devices(node: Any, device: str) -> None:
    if isinstance(node, DictConfig):
        for key in list(node):
            if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key):
                continue
            if key == "device" and isinstance(node[key], str):
                node[key] = device
            else:
                _set_devices(node[key], device)
    elif isinstance(node, ListConfig):
        for value in node:
            _set_devices(value, device)


def _written(value: Any) -> Any:
    """A node as yaml can hold it: classes and functions by name, other objects as they are printed, without address."""
    if isinstance(value, DictConfig | ListConfig):
        value = OmegaConf.to_container(value, resolve=True)
    if isinstance(value, dict):
        return {str(key): _written(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_written(one) for one in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
