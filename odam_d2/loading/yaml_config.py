"""Detectors from yaml."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from detectron2.config import CfgNode
from detectron2.data import build_detection_train_loader
from detectron2.modeling import build_model
from torch import nn

from ..data.inputs import InputMaker
from ..data.training import training_records
from .base import DetectorConfig
from .limits import limit_outputs

if TYPE_CHECKING:
    from detectron2.evaluation import DatasetEvaluator


class YamlConfig(DetectorConfig):
    """A config with Detectron2's keys.

    Args:
        node: with the node ``ODAM``.
    """

    weights_key = "MODEL.WEIGHTS"
    datasets_key = "DATASETS"

    def __init__(self, node: CfgNode):
        self.node = node
        self._limits: tuple[float | None, int | None] = (None, None)

    @property
    def odam(self) -> CfgNode:  # type: ignore[override]
        """See :class:`DetectorConfig`."""
        return self.node.ODAM

    @property
    def weights(self) -> str:
        """See :class:`DetectorConfig`."""
        return self.node.MODEL.WEIGHTS

    @property
    def device(self) -> str:
        """See :class:`DetectorConfig`."""
        return self.node.MODEL.DEVICE

    @device.setter
    def device(self, device: str) -> None:
        self.node.MODEL.DEVICE = device

    @property
    def architecture(self) -> str:
        """See :class:`DetectorConfig`."""
        return self.node.MODEL.META_ARCHITECTURE

    @property
    def output_folder(self) -> str:
        """See :class:`DetectorConfig`."""
        return self.node.OUTPUT_DIR

    @property
    def num_workers(self) -> int:
        """See :class:`DetectorConfig`."""
        return self.node.DATALOADER.NUM_WORKERS

    @property
    def most_detections(self) -> int | None:
        """See :class:`DetectorConfig`."""
        return self.node.TEST.DETECTIONS_PER_IMAGE

    def limit(self, score_threshold: float | None, max_detections: int | None) -> None:
        """See :class:`DetectorConfig`."""
        cfg = self.node
        if score_threshold is not None:
            for node in (cfg.MODEL.ROI_HEADS, cfg.MODEL.RETINANET, cfg.ODAM.FCOS, cfg.ODAM.DETR):
                node.SCORE_THRESH_TEST = score_threshold
        if max_detections is not None:
            cfg.TEST.DETECTIONS_PER_IMAGE = min(cfg.TEST.DETECTIONS_PER_IMAGE, max_detections)
        self._limits = (score_threshold, max_detections)

    def make_input(self) -> InputMaker:
        """See :class:`DetectorConfig`."""
        return InputMaker.from_config(self.node)

    def text(self) -> str:
        """See :class:`DetectorConfig`."""
        config = self.node.clone()
        config.defrost()
        config.MODEL.WEIGHTS = ""  # identified by content, not by path
        return config.dump()

    def evaluator(self, dataset: str, folder: str) -> DatasetEvaluator:
        """See :class:`DetectorConfig`."""
        from ..engine import OdamTrainer

        return OdamTrainer.build_evaluator(self.node, dataset, folder)

    def train_samples(self) -> tuple[Iterator[dict], str]:
        """See :class:`DetectorConfig`."""
        node = self.node.clone()
        node.defrost()
        node.DATALOADER.NUM_WORKERS = 0
        return chain.from_iterable(
            build_detection_train_loader(node, dataset=training_records(node))
        ), node.INPUT.FORMAT

    def _build(self) -> nn.Module:
        model = build_model(self.node)
        limit_outputs(model, *self._limits)
        return model
