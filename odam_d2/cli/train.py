"""Trains and evaluates a detector as Detectron2's train_net.py does.

    odam train --config-file synthetic/faster_rcnn_compact_FPN OUTPUT_DIR output/compact
    odam train --config-file synthetic/faster_rcnn_compact_FPN --eval-only MODEL.WEIGHTS output/compact/model_final.pth
    odam train --config-file synthetic/fcos_compact_FPN_odam_train --resume OUTPUT_DIR output/fcos

Training begins with the MODEL.WEIGHTS of the config; --eval-only evaluates the trained weights of the model zoo, if it
has any under this name and MODEL.WEIGHTS isn't given. Without a GPU, --num-gpus is the number of processes on the CPU.

Exit code: 0; 1 if the set-up failed; 2 if an argument is wrong.
"""

import argparse
import logging
from collections.abc import Sequence

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.engine import default_setup, launch
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import setup_logger

from ..config import use_traced_architectures
from ..engine import OdamTrainer
from ..model_zoo import model_zoo
from ..utils.checkpoint import OdamCheckpointer, split_address
from ..utils.files import require_writable
from ..utils.processes import launch_on_cpu
from ..utils.weight_files import CheckpointError
from .arguments import add_config, add_machines, command_parser, failure, wrong_machines
from .config import read_config


def argument_parser() -> argparse.ArgumentParser:
    """The command line; as Detectron2's own, and ``--import``."""
    parser = command_parser("train", __doc__)
    add_config(parser)
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint in OUTPUT_DIR")
    parser.add_argument("--eval-only", action="store_true", help="evaluate, don't train")
    add_machines(parser)
    return parser


def training_config(args: argparse.Namespace) -> CfgNode:
    """The frozen config of the run.

    Raises:
        ImportError: if an import of the command line fails.
        ValueError: if the config can't be read, or names data sets or weights that don't exist.
    """
    cfg = read_config(args.config_file, args.opts, args.imports, trained=args.eval_only, traced=False)
    if cfg.ODAM.TRAIN.WEIGHT > 0:  # which a stock detector can't
        use_traced_architectures(cfg)
    cfg.freeze()
    unknown = [name for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST) if name not in DatasetCatalog]
    if unknown:
        raise ValueError(
            f"DATASETS must name registered data sets; got {unknown}: choose among {sorted(DatasetCatalog.list())}, or "
            "--import the file that registers them"
        )
    weights = split_address(cfg.MODEL.WEIGHTS)[0]
    if weights and not args.resume and "://" not in weights and not PathManager.exists(weights):
        raise ValueError(f"MODEL.WEIGHTS must be a checkpoint; got {weights!r}, which doesn't exist: give another path")
    return cfg


def setup(args: argparse.Namespace) -> CfgNode:
    """The config; this process is set up for it: seed, logs, output folder."""
    cfg = training_config(args)
    file, _ = model_zoo.find(args.config_file)
    default_setup(cfg, argparse.Namespace(**{**vars(args), "config_file": file}))
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="odam_d2")  # what our own evaluators print
    return cfg


def train(args: argparse.Namespace) -> dict:
    """What each process does: trains, or only evaluates, and returns the results of the evaluation."""
    cfg = setup(args)
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
        # What is wrong shows here, before processes start.
        require_writable(training_config(args).OUTPUT_DIR)
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
