"""Trains and evaluates a detector as Detectron2's train_net.py does.

    odam train --config-file synthetic/faster_rcnn_compact_FPN OUTPUT_DIR output/compact
    odam train --config-file synthetic/faster_rcnn_compact_FPN --eval-only MODEL.WEIGHTS output/compact/model_final.pth
    odam train --config-file synthetic/fcos_compact_FPN_odam_train --resume OUTPUT_DIR output/fcos

Training begins with the MODEL.WEIGHTS of the config; --eval-only evaluates the trained weights of the model zoo, if it
has any under this name and MODEL.WEIGHTS isn't given. Without a GPU, --num-gpus is the number of processes on the CPU.

A LazyConfig is trained as Detectron2's lazyconfig_train_net.py does:

    odam train --config-file my.py train.output_dir=output/mine train.init_checkpoint=R-50.pkl odam.train.weight=0.2

Exit code: 0; 1 if the set-up failed; 2 if an argument is wrong.
"""

import argparse
import copy
import logging
import os
from collections.abc import Sequence
from functools import partial

import torch
from detectron2.data import DatasetCatalog
from detectron2.engine import default_setup, launch
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import setup_logger

from ..config import use_traced_architectures
from ..data.account import Account
from ..data.records import judged_records
from ..data.registration import require_fitting_classes
from ..engine import OdamTrainer
from ..engine.lazy_trainer import LazyTrainer, evaluate
from ..loading import DetectorConfig
from ..loading.lazy_config import LazyDetectorConfig
from ..loading.yaml_config import YamlConfig
from ..model_zoo import model_zoo
from ..modeling.num_classes import count_classes
from ..utils.checkpoint import OdamCheckpointer, split_address
from ..utils.downloads import fetch_weights
from ..utils.files import require_writable
from ..utils.processes import launch_on_cpu
from ..utils.weight_files import CheckpointError, check_is_file
from .annotated import add_strict, tell
from .arguments import add_config, add_machines, command_parser, failure, wrong_machines
from .config import read_config


def argument_parser() -> argparse.ArgumentParser:
    """The command line; as Detectron2's own, and ``--import``."""
    parser = command_parser("train", __doc__)
    add_config(parser)
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint in OUTPUT_DIR")
    parser.add_argument("--eval-only", action="store_true", help="evaluate, don't train")
    add_strict(parser)
    add_machines(parser)
    return parser


def training_config(args: argparse.Namespace) -> DetectorConfig:
    """The config of the run; a yaml's is frozen.

    Raises:
        ImportError: if an import of the command line fails.
        ValueError: if the config can't be read, or names data sets or weights that don't exist.
    """
    config = read_config(args, trained=args.eval_only, traced=False)
    if isinstance(config, YamlConfig):
        if config.odam.TRAIN.WEIGHT > 0 or config.odam.NMS.ENABLED:  # which a stock detector can't
            use_traced_architectures(config.node)
        config.node.freeze()
    elif isinstance(config, LazyDetectorConfig):
        config.require_trainable(args.eval_only)
    unknown = [name for split in ("train", "test") for name in config.datasets(split) if name not in DatasetCatalog]
    if unknown:
        raise ValueError(
            f"{config.datasets_key} must name registered data sets; got {unknown}: choose among "
            f"{sorted(DatasetCatalog.list())}, or --import the file that registers them"
        )
    weights = split_address(config.weights)[0]
    if weights and not args.resume and "://" not in weights and not PathManager.exists(weights):
        raise ValueError(
            f"{config.weights_key} must be a checkpoint; got {weights!r}, which doesn't exist: give another path"
        )
    return config


def require_classes(config: DetectorConfig, eval_only: bool) -> None:
    """Raises ValueError where a data set of the config has other classes than the detector, before anything starts."""
    on_cpu = copy.deepcopy(config)
    if isinstance(on_cpu, YamlConfig):
        on_cpu.node.defrost()
    on_cpu.device = "cpu"
    with torch.random.fork_rng(devices=[]):
        try:
            number = count_classes(on_cpu.build())
        except ValueError:  # what is wrong with the config shows with more detail where it is built for the run
            return
    if number is not None:
        for split in ("test",) if eval_only else ("train", "test"):
            require_fitting_classes(config.datasets_key, split, config.datasets(split), number)


def require_nothing_lost(names: Sequence[str]) -> None:
    """Prints the accounts of data sets, and raises ValueError where something of them is lost."""
    for name in dict.fromkeys(names):
        records = DatasetCatalog.get(name)
        if isinstance(records, list):  # a stream of them is judged by nobody
            account = Account(name)
            judged_records(records, account)
            tell(account, strict=True)


def setup(args: argparse.Namespace) -> DetectorConfig:
    """The config; this process is set up for it: seed, logs, output folder."""
    config = training_config(args)
    file, _ = model_zoo.find(args.config_file)
    default_setup(config.node, argparse.Namespace(**{**vars(args), "config_file": file}))
    # What our own evaluators print.
    setup_logger(config.output_folder, distributed_rank=comm.get_rank(), name="odam_d2")
    return config


def train(args: argparse.Namespace) -> dict:
    """What each process does: trains, or only evaluates, and returns the results of the evaluation."""
    config = setup(args)
    if isinstance(config, LazyDetectorConfig):
        return train_lazily(config, args)
    cfg = config.node
    if args.eval_only:
        model = OdamTrainer.build_model(cfg)
        OdamCheckpointer(model, save_dir=cfg.OUTPUT_DIR).resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
        results = OdamTrainer.test(cfg, model)
        if comm.is_main_process():
            verify_results(cfg, results)
        return results
    trainer = OdamTrainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


def train_lazily(config: LazyDetectorConfig, args: argparse.Namespace) -> dict:
    """:func:`train` for a LazyConfig, as Detectron2's ``lazyconfig_train_net.py``."""
    datasets, folder = config.datasets("test"), config.output_folder
    make_evaluator = partial(config.evaluator, datasets[0], os.path.join(folder, "inference")) if datasets else None
    model = config.build_to_train()
    if args.eval_only:
        OdamCheckpointer(model, folder).resume_or_load(config.weights, resume=args.resume)
        assert make_evaluator is not None  # require_trainable
        return evaluate(config.node, model.eval(), make_evaluator)
    trainer = LazyTrainer(config.node, model, make_evaluator)
    trainer.resume_or_load(config.weights, resume=args.resume)
    trainer.train()
    return {}


def start(args: argparse.Namespace) -> None:
    """Runs :func:`train` in as many processes as are asked for; without a GPU they share the CPU."""
    if args.num_gpus > 1 and args.num_machines == 1 and not torch.cuda.is_available():
        launch_on_cpu(train, args.num_gpus, (args,))
        return
    about = {"num_machines": args.num_machines, "machine_rank": args.machine_rank, "dist_url": args.dist_url}
    launch(train, args.num_gpus, args=(args,), **about)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code; a wrong argument raises SystemExit(2) as argparse does."""
    parser = argument_parser()
    args = parser.parse_args(argv)
    if wrong := wrong_machines(args):
        parser.error(wrong)
    try:
        config = training_config(args)  # what is wrong shows here, before processes start
        require_classes(config, args.eval_only)
        if args.strict:
            splits = ("test",) if args.eval_only else ("train", "test")
            require_nothing_lost([name for split in splits for name in config.datasets(split)])
        if config.weights and not args.resume:
            check_is_file(fetch_weights(config.weights, config.weights_key), config.weights)
        require_writable(config.output_folder)
    except (ValueError, ImportError, OSError) as error:
        return failure(error)
    printed, logging.raiseExceptions = logging.raiseExceptions, False  # a full disk is told once, not with each line
    try:
        start(args)
    # Others are faults of a training, whose place in the code tells more than a sentence.
    except (CheckpointError, OSError) as error:
        return failure(error)
    finally:
        logging.raiseExceptions = printed
    return 0
