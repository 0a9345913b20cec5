"""Training in the Detectron2 manner, on CPUs as well as on GPUs."""

import logging
import os
import weakref

import detectron2
import torch
from detectron2.data import MetadataCatalog
from detectron2.engine import (
    AMPTrainer,
    DefaultTrainer,
    HookBase,
    SimpleTrainer,
    TrainerBase,
    create_ddp_model,
    train_loop,
)
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from ..data.registration import require_fitting_classes
from ..evaluation.crowd.protocol import find_protocol
from ..modeling.num_classes import count_classes
from ..postprocess import require_heeded
from ..utils.autocast_operators import cast_operators_on_cpu
from ..utils.checkpoint import OdamCheckpointer
from ..utils.files import disk_error, remove_unfinished
from .evaluators import EVALUATORS
from .history import KeepHistory
from .hooks import KeepLossNormalizer, RequireFiniteLosses, SeedEachStep
from .optimizers import OPTIMIZERS
from .rows import drop_rows_from
from .stream import StreamOfBatches, build_train_loader
from .watching import WatchExplanations
from .watching_pairs import WatchHardPairs


class CPUAutocastTrainer(SimpleTrainer):
    """One step in bfloat16 where that is safe, as ``AMPTrainer`` does on GPUs in half precision.

    bfloat16 has the range of float32, so losses need no scaling.
    """

    def run_step(self) -> None:
        """The step of ``SimpleTrainer`` under autocast."""
        cast_operators_on_cpu()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            super().run_step()


def _is_not_of_disk(record: logging.LogRecord) -> bool:
    return not (record.exc_info and disk_error(record.exc_info[1]))


class OdamTrainer(DefaultTrainer):
    """``DefaultTrainer`` that knows our data sets, optimizers and losses, and honours ``SOLVER.AMP`` on CPUs too.

    With a ``SEED`` that is not negative, a run that was resumed goes on exactly as if it had not been interrupted, on
    the same machine with the same versions and number of threads.
    """

    iter: int

    def __init__(self, cfg):
        # Not DefaultTrainer's, which gives every process a GPU.
        TrainerBase.__init__(self)
        if not logging.getLogger(detectron2.__name__).isEnabledFor(logging.INFO):  # nobody has called default_setup
            setup_logger()
        find_protocol(cfg.ODAM.TEST.CROWD_PROTOCOL)  # an unknown one shows here, not after the last iteration
        cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        self.require_classes(cfg, model)
        optimizer = self.build_optimizer(cfg, model)
        data_loader = self.build_train_loader(cfg)
        on_cpu = torch.device(cfg.MODEL.DEVICE).type == "cpu"
        model = create_ddp_model(model, broadcast_buffers=False, **({"device_ids": None} if on_cpu else {}))
        kind = SimpleTrainer
        if cfg.SOLVER.AMP.ENABLED:
            kind = CPUAutocastTrainer if on_cpu else AMPTrainer
        self._trainer = kind(model, data_loader, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = OdamCheckpointer(model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self))
        self.start_iter, self.max_iter, self.cfg = 0, cfg.SOLVER.MAX_ITER, cfg
        self.register_hooks(self.build_hooks())

    @staticmethod
    def require_classes(cfg, model: torch.nn.Module) -> None:
        """Raises ValueError where a data set of the config has other classes than the detector."""
        number = count_classes(model)
        if number is not None:
            require_fitting_classes("DATASETS.TRAIN", "train", cfg.DATASETS.TRAIN, number)
            require_fitting_classes("DATASETS.TEST", "test", cfg.DATASETS.TEST, number)

    def resume_or_load(self, resume: bool = True) -> None:
        """``DefaultTrainer``'s; the training data of a resumed run go on where they were, and the log of its losses."""
        if comm.is_main_process():
            remove_unfinished(self.cfg.OUTPUT_DIR)
        super().resume_or_load(resume)
        if resume and comm.is_main_process():
            drop_rows_from(os.path.join(self.cfg.OUTPUT_DIR, "metrics.json"), self.start_iter)
        batches = getattr(self.data_loader, "batch_sampler", None)
        if isinstance(batches, StreamOfBatches):
            batches.start = self.start_iter

    def train(self):
        """``DefaultTrainer``'s; if the disk is full, its log doesn't say where in the code that was found out."""
        log = logging.getLogger(train_loop.__name__)
        log.addFilter(_is_not_of_disk)
        try:
            return super().train()
        finally:
            log.removeFilter(_is_not_of_disk)

    def after_train(self) -> None:
        """``DefaultTrainer``'s, which counts one step too many where a resumed run had none left to do."""
        self.iter = min(self.iter, self.max_iter)
        super().after_train()

    def build_hooks(self) -> list[HookBase | None]:
        """``DefaultTrainer``'s hooks, those of every run of ours, and what watches explanations where asked for."""
        *stock, writer = super().build_hooks() if comm.is_main_process() else [*super().build_hooks(), None]
        ours: list[HookBase | None] = [RequireFiniteLosses(), KeepLossNormalizer()]
        if comm.is_main_process():
            ours.append(KeepHistory(os.path.join(self.cfg.OUTPUT_DIR, "metrics.json")))
        if self.cfg.SEED >= 0:
            ours.append(SeedEachStep(self.cfg.SEED))
        if self.cfg.ODAM.TRAIN.WATCH_PERIOD > 0 and comm.is_main_process():
            ours += [WatchExplanations.from_config(self.cfg), WatchHardPairs.from_config(self.cfg)]
        # The writer comes last, so that it writes what the others found.
        return [*ours, *stock, writer]

    @classmethod
    def build_model(cls, cfg) -> torch.nn.Module:
        """``DefaultTrainer``'s.

        Raises:
            ValueError: if ``ODAM.TRAIN.WEIGHT`` is above 0 and the detector can't be trained by explanations, or
                ``ODAM.NMS.ENABLED`` is set and it has no use for that.
        """
        model = super().build_model(cfg)
        if cfg.ODAM.TRAIN.WEIGHT > 0 and getattr(model, "odam_losses", None) is None:
            raise ValueError(
                "`MODEL.META_ARCHITECTURE` must train by explanations where ODAM.TRAIN.WEIGHT is above 0; got "
                f"{cfg.MODEL.META_ARCHITECTURE!r}: name OdamRCNN, OdamPanopticFPN, OdamRetinaNet or "
                "OdamFCOS, or set the weight to 0.0"
            )
        require_heeded(cfg.ODAM, model)
        return model

    @classmethod
    def build_train_loader(cls, cfg):
        """See :func:`odam_d2.engine.stream.build_train_loader`."""
        return build_train_loader(cfg)

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
            ValueError: if ``evaluator_type`` of the data set or ``ODAM.TEST.CROWD_PROTOCOL`` is unknown.
            ImportError: if it needs a package that is not installed.
        """
        folder = output_folder or os.path.join(cfg.OUTPUT_DIR, "inference")
        kind = MetadataCatalog.get(dataset_name).get("evaluator_type", None)
        if kind not in EVALUATORS:
            raise ValueError(
                f"`evaluator_type` of data set {dataset_name!r} must be one of {sorted(EVALUATORS)}; got {kind!r}: set "
                "it in MetadataCatalog"
            )
        return EVALUATORS[kind](dataset_name, folder, cfg.ODAM.TEST.CROWD_PROTOCOL)
