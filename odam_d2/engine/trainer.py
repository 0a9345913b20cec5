"""Training in the Detectron2 manner, on CPUs as well as on GPUs."""

import os

import torch
from detectron2.data import MetadataCatalog
from detectron2.engine import DefaultTrainer, SimpleTrainer
from detectron2.evaluation import DatasetEvaluator

from .evaluators import EVALUATORS
from .optimizers import OPTIMIZERS


class CPUAutocastTrainer(SimpleTrainer):
    """One step in bfloat16 where that is safe, as ``AMPTrainer`` does on GPUs in half precision.

    bfloat16 has the range of float32, so losses need no scaling.
    """

    def run_step(self) -> None:
        """The step of ``SimpleTrainer`` under autocast."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            super().run_step()


class OdamTrainer(DefaultTrainer):
    """``DefaultTrainer`` that knows how our data sets are scored, and honours ``SOLVER.AMP`` on CPUs too."""

    def __init__(self, cfg):
        super().__init__(cfg)
        if cfg.SOLVER.AMP.ENABLED and torch.device(cfg.MODEL.DEVICE).type == "cpu":
            self._trainer = CPUAutocastTrainer(self.model, self.data_loader, self.optimizer)

    @classmethod
    def build_optimizer(cls, cfg, model: torch.nn.Module) -> torch.optim.Optimizer:
        """The optimizer that ``ODAM.SOLVER.OPTIMIZER`` names.

        Raises:
            ValueError: if it is unknown; lists the known ones.
        """
        name = cfg.ODAM.SOLVER.OPTIMIZER
        if name not in OPTIMIZERS:
            raise ValueError(
                f"`ODAM.SOLVER.OPTIMIZER` must be one of {sorted(OPTIMIZERS)}; got {name!r}: choose one of these"
            )
        return OPTIMIZERS[name](cfg, model)

    @classmethod
    def build_evaluator(cls, cfg, dataset_name: str, output_folder: str | None = None) -> DatasetEvaluator:
        """The evaluator that the data set's metadata asks for.

        Args:
            cfg: the run's config.
            dataset_name: a name in Detectron2's catalogs.
            output_folder: where results go; default ``OUTPUT_DIR/inference``.

        Raises:
            ValueError: if ``evaluator_type`` of the data set is unknown.
        """
        folder = output_folder or os.path.join(cfg.OUTPUT_DIR, "inference")
        kind = MetadataCatalog.get(dataset_name).get("evaluator_type", None)
        if kind not in EVALUATORS:
            raise ValueError(
                f"`evaluator_type` of data set {dataset_name!r} must be one of {sorted(EVALUATORS)}; got {kind!r}: set "
                "it in MetadataCatalog"
            )
        return EVALUATORS[kind](dataset_name, folder)
