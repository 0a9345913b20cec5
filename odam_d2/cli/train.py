"""Trains and evaluates a detector in the Detectron2 manner.

tools/train_net.py --config-file configs/synthetic/faster_rcnn_compact_FPN.yaml OUTPUT_DIR output/compact
tools/train_net.py --config-file ... --eval-only MODEL.WEIGHTS output/compact/model_final.pth
tools/train_net.py --config-file configs/synthetic/fcos_compact_FPN_odam_train.yaml --resume OUTPUT_DIR output/fcos

Without a GPU, --num-gpus is the number of processes on the CPU.
"""

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, get_cfg
from detectron2.engine import default_argument_parser, default_setup, launch
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from ..config import add_odam_config, use_traced_architectures
from ..data import register_datasets
from ..engine import OdamTrainer
from ..utils.imports import import_file_or_module
from ..utils.processes import launch_on_cpu


def setup(args) -> CfgNode:
    """The frozen config of the run: file, then options, then what this machine can do."""
    for name in args.imports:
        import_file_or_module(name)
    register_datasets()
    cfg = get_cfg()
    add_odam_config(cfg)
    cfg.merge_from_file(args.config_file)
    if not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    cfg.merge_from_list(args.opts)
    if cfg.ODAM.TRAIN.WEIGHT > 0:  # which a stock detector can't
        use_traced_architectures(cfg)
    cfg.freeze()
    default_setup(cfg, args)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="odam_d2")  # what our own evaluators print
    return cfg


def main(args) -> dict:
    """Trains (or only evaluates) and returns the results of the evaluation."""
    cfg = setup(args)
    if args.eval_only:
        model = OdamTrainer.build_model(cfg)
        DetectionCheckpointer(model, save_dir=cfg.OUTPUT_DIR).resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
        results = OdamTrainer.test(cfg, model)
        if comm.is_main_process():
            verify_results(cfg, results)
        return results
    trainer = OdamTrainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


def argument_parser():
    """Detectron2's own arguments and ``--import``."""
    parser = default_argument_parser()
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="FILE_OR_MODULE",
        help="python file or module to run before the config is read, e.g. one that registers a backbone; repeatable",
    )
    return parser


def start(args) -> None:
    """Runs :func:`main` in as many processes as are asked for; without a GPU they share the CPU."""
    if args.num_gpus > 1 and args.num_machines == 1 and not torch.cuda.is_available():
        launch_on_cpu(main, args.num_gpus, (args,))
        return
    about = {"num_machines": args.num_machines, "machine_rank": args.machine_rank, "dist_url": args.dist_url}
    launch(main, args.num_gpus, args=(args,), **about)
