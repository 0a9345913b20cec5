"""Training from a LazyConfig, as Detectron2's ``lazyconfig_train_net.py`` does, on CPUs as well as on GPUs."""

import copy
import logging
import os
import weakref
from collections.abc import Callable
from typing import Any

from detectron2.config import instantiate
from detectron2.engine import AMPTrainer, SimpleTrainer, TrainerBase, create_ddp_model, default_writers, hooks
from detectron2.evaluation import DatasetEvaluator, inference_on_dataset, print_csv_format
from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ..utils.checkpoint import OdamCheckpointer
from ..utils.files import remove_unfinished
from .history import KeepHistory
from .hooks import KeepLossNormalizer, RequireFiniteLosses
from .rows import drop_rows_from
from .trainer import CPUAutocastTrainer

MakeEvaluator = Callable[[], DatasetEvaluator]
# What Detectron2's own `common/train.py` says, for configs that leave it out.
_DEFAULTS = {
    "output_dir": "./output",
    "max_iter": 90000,
    "amp": {"enabled": False},
    "ddp": {"broadcast_buffers": False},
    "checkpointer": {"period": 5000, "max_to_keep": 100},
    "eval_period": 5000,
    "log_period": 20,
}


class LazyTrainer(TrainerBase):
    """Runs ``train.max_iter`` iterations of a LazyConfig.

    Args:
        cfg: with ``train``, ``optimizer``, ``lr_multiplier`` and ``dataloader``.
        model: the detector, in training mode on its device.
        make_evaluator: what measures detections every ``train.eval_period`` iterations; None for never.

    Raises:
        ValueError: if one of the nodes is missing.
    """

    iter: int

    def __init__(self, cfg: DictConfig, model: nn.Module, make_evaluator: MakeEvaluator | None = None):
        super().__init__()
        missing = [
            name for name in ("optimizer", "lr_multiplier", "dataloader.train") if not OmegaConf.select(cfg, name)
        ]
        if missing:
            raise ValueError(f"a LazyConfig must have {missing} to be trained; it has {list(cfg)}: add them")
        self.cfg, self.train_options, self.make_evaluator = cfg, training_options(cfg), make_evaluator
        on_cpu = next(model.parameters()).device.type == "cpu"
        optimizer = copy.deepcopy(cfg.optimizer)
        optimizer.params.model = model
        optimizer = instantiate(optimizer)
        ddp = {**self.train_options["ddp"], **({"device_ids": None} if on_cpu else {})}
        self.fp16 = ddp.pop("fp16_compression", False)
        model = create_ddp_model(model, fp16_compression=self.fp16 and not on_cpu, **ddp)
        kind: type[SimpleTrainer] = SimpleTrainer
        if self.train_options["amp"]["enabled"]:
            kind = CPUAutocastTrainer if on_cpu else AMPTrainer
        self._trainer = kind(model, instantiate(cfg.dataloader.train), optimizer)
        self.model = model
        self.checkpointer = OdamCheckpointer(model, self.train_options["output_dir"], trainer=weakref.proxy(self))
        self.start_iter, self.max_iter = 0, self.train_options["max_iter"]
        self.register_hooks(self.build_hooks())

    def build_hooks(self) -> list[hooks.HookBase | None]:
        """What happens around every step: Detectron2's own hooks, and those of every run of ours."""
        options, main = self.train_options, comm.is_main_process()
        evaluates = self.make_evaluator is not None and options["eval_period"] > 0
        return [
            RequireFiniteLosses(),
            KeepLossNormalizer(),
            KeepHistory(os.path.join(options["output_dir"], "metrics.json")) if main else None,
            hooks.IterationTimer(),
            hooks.LRScheduler(optimizer=self._trainer.optimizer, scheduler=instantiate(self.cfg.lr_multiplier)),
            hooks.PeriodicCheckpointer(self.checkpointer, **options["checkpointer"]) if main else None,
            hooks.EvalHook(options["eval_period"], self.evaluate) if evaluates else None,
            hooks.PeriodicWriter(default_writers(options["output_dir"], self.max_iter), options["log_period"])
            if main
            else None,
        ]

    def resume_or_load(self, weights: str, resume: bool) -> None:
        """Loads the weights that training begins with, or all of the last checkpoint in the output folder.

        Args:
            weights: path or address; empty for none.
            resume: whether to go on from the last checkpoint, if there is one.
        """
        folder = self.train_options["output_dir"]
        if comm.is_main_process():
            remove_unfinished(folder)
        self.checkpointer.resume_or_load(weights, resume=resume)
        if resume and self.checkpointer.has_checkpoint():
            self.start_iter = self.iter + 1
        if resume and comm.is_main_process():
            drop_rows_from(os.path.join(folder, "metrics.json"), self.start_iter)

    def train(self) -> Any:
        """Runs the iterations that are left."""
        super().train(self.start_iter, self.max_iter)

    def after_train(self) -> None:
        """See :class:`TrainerBase`, which counts one step too many where a resumed run had none left to do."""
        self.iter = min(self.iter, self.max_iter)
        super().after_train()

    def run_step(self) -> None:
        """See :class:`TrainerBase`."""
        self._trainer.iter = self.iter
        self._trainer.run_step()

    def evaluate(self) -> dict:
        """Figures of the detections as they are now."""
        assert self.make_evaluator is not None
        return evaluate(self.cfg, self.model, self.make_evaluator)

    def state_dict(self) -> dict:
        """See :class:`TrainerBase`; with the state of the inner trainer."""
        return {**super().state_dict(), "_trainer": self._trainer.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        """See :class:`TrainerBase`."""
        super().load_state_dict(state_dict)
        self._trainer.load_state_dict(state_dict["_trainer"])


def training_options(cfg: DictConfig) -> dict[str, Any]:
    """The node ``train`` of a LazyConfig, with Detectron2's defaults where it leaves something out."""
    defaults = OmegaConf.create(_DEFAULTS)
    given = cfg.get("train") or OmegaConf.create({})
    merged = OmegaConf.to_container(OmegaConf.merge(defaults, given), resolve=True)
    assert isinstance(merged, dict)
    return {str(key): value for key, value in merged.items()}


def evaluate(cfg: DictConfig, model: nn.Module, make_evaluator: MakeEvaluator) -> dict:
    """Figures of a detector on ``dataloader.test``, printed too."""
    # Data that are rendered when they are first asked for are there before the evaluator reads them.
    loader = instantiate(cfg.dataloader.test)
    results = inference_on_dataset(model, loader, make_evaluator())
    if comm.is_main_process():
        logging.getLogger(__name__).info("Evaluation results in csv format:")
        print_csv_format(results)
    return results
