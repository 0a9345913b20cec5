#!/usr/bin/env python
"""Trains a detector of crowds in several ways by explanations, all from one start, and measures each one.

    tools/research/odam_train_sweep.py --output output/sweep --results docs/measurements/odam_train
    tools/research/odam_train_sweep.py --output output/sweep --variants stock ranking_w1 --iterations 1500 --seed 1
    tools/research/odam_train_sweep.py --list

Finished variants are skipped and an interrupted one continues at its last checkpoint, so the same command continues a
sweep. Each variant's figures go to a JSON file as soon as it is measured: AUC on hard pairs (maps of the proposals, and
of the predicted boxes after one and two further passes through the heads), AP, ODI and the mean of the last losses.
"""

import argparse
import json
import shlex
import statistics
import sys
from pathlib import Path
from typing import Any

import odam_d2  # noqa: F401  before Detectron2, whose import warns of itself

# isort: split
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.engine import hooks
from detectron2.utils.events import EventStorage

from odam_d2.cli.config import require_yaml
from odam_d2.data import register_datasets
from odam_d2.data.inputs import ImageInputs, InputMaker
from odam_d2.engine import OdamTrainer
from odam_d2.engine.evaluators import build_coco, build_crowd
from odam_d2.engine.watching import WatchExplanations
from odam_d2.engine.watching_pairs import WatchHardPairs
from odam_d2.env import collect_versions
from odam_d2.evaluation.crowd.protocol import DEFAULT_PROTOCOL, PROTOCOLS
from odam_d2.evaluation.nms_tuning.hard_pairs import summarize_hard_pairs
from odam_d2.evaluation.nms_tuning.tuning import EvaluatorScore
from odam_d2.loading import read_detector_config
from odam_d2.utils.clock import now
from odam_d2.utils.files import write_json

sys.path.insert(0, str(Path(__file__).parent))
from odam_train_variants import VARIANTS  # noqa: E402  a script's neighbour

REPOOLS = (0, 1, 2)
LAST = 50  # iterations that the losses are averaged over


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config-file", default="synthetic/faster_rcnn_compact_FPN_odam_train", metavar="NAME",
        help="of the model zoo: start, schedule and data (default: %(default)s)")  # fmt: skip
    add("--variants", nargs="+", choices=VARIANTS, metavar="NAME", help="default: all, in the order of --list")
    add("--list", action="store_true", help="print the variants and end")
    add("--iterations", type=int, default=300, help="of each variant (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the data and of each step (default: %(default)s)")
    add("--period", type=int, default=100, help="iterations between checkpoints and looks (default: %(default)s)")
    add("--auc-images", type=int, default=12, help="images of the test set for AUC and ODI (default: %(default)s)")
    add("--ap-images", type=int, default=100, help="images of the test set for AP (default: %(default)s)")
    add("--protocol", choices=sorted(PROTOCOLS), default=DEFAULT_PROTOCOL,
        help="the rules of crowds' figures (default: %(default)s)")  # fmt: skip
    add("--output", default="output/sweep", metavar="DIR", help="for checkpoints and logs (default: %(default)s)")
    add("--results", metavar="DIR", help="for the JSON files (default: results/ in --output)")
    return parser


class SweepTrainer(OdamTrainer):
    """Without the evaluation on the whole test set at the end."""

    def build_hooks(self) -> list:
        """``OdamTrainer``'s but for the evaluation."""
        return [hook for hook in super().build_hooks() if not isinstance(hook, hooks.EvalHook)]


def read_config(args: argparse.Namespace, variant: str, folder: Path) -> CfgNode:
    """The config of a variant."""
    cfg = require_yaml(read_detector_config(args.config_file, traced=False))
    cfg.merge_from_list(["SEED", args.seed, "SOLVER.MAX_ITER", args.iterations, "DATALOADER.NUM_WORKERS", 0])
    cfg.merge_from_list(["SOLVER.CHECKPOINT_PERIOD", args.period, "ODAM.TRAIN.WATCH_PERIOD", args.period])
    cfg.merge_from_list(["ODAM.TRAIN.WATCH_IMAGES", args.auc_images, "ODAM.TRAIN.WATCH_DRAWN", 0])
    cfg.ODAM.TEST.CROWD_PROTOCOL = args.protocol
    cfg.merge_from_list(VARIANTS[variant])
    cfg.OUTPUT_DIR = str(folder)
    return cfg


def measure(trainer: OdamTrainer, cfg: CfgNode, args: argparse.Namespace) -> dict[str, Any]:
    """All figures of a detector as it stands."""
    model, figures = trainer.model, {}
    watch = WatchHardPairs.from_config(cfg)
    for repool in REPOOLS if hasattr(model, "roi_heads") else (0,):
        watch.options["repool"] = repool
        figures[f"hard_pairs_repool_{repool}"] = summarize_hard_pairs(watch.pairs(model))
    explanations = WatchExplanations.from_config(cfg)
    with EventStorage() as storage:
        explanations.trainer = argparse.Namespace(storage=storage)
        figures["explanations"] = explanations.look(model)
    model.eval()
    records = DatasetCatalog.get(cfg.DATASETS.TEST[0])[: args.ap_images]
    inputs = ImageInputs(records, InputMaker.from_config(cfg))
    with torch.no_grad():
        found = [model([entry])[0]["instances"] for entry in inputs]
    results = [{**record, "instances": one} for record, one in zip(records, found, strict=True)]
    for name, build in (("coco", build_coco), ("crowd", build_crowd)):
        evaluator = build(cfg.DATASETS.TEST[0], str(Path(cfg.OUTPUT_DIR) / name), cfg.ODAM.TEST.CROWD_PROTOCOL)
        figures[name] = EvaluatorScore(evaluator)(results)
    return figures


def history(folder: Path) -> dict[str, Any]:
    """What training logged: mean losses of the last iterations, and the looks at AUC and ODI."""
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text(encoding="utf-8").splitlines()]
    last = [line for line in lines if line["iteration"] > lines[-1]["iteration"] - LAST]
    names = {name for line in last for name in line if "loss" in name or name.startswith("odam/")}
    means = {name: statistics.mean(line[name] for line in last if name in line) for name in sorted(names)}
    looks = {name for line in lines for name in line if name.startswith(("odam/AUC", "odam/ODI"))}
    curves = {name: {line["iteration"] + 1: line[name] for line in lines if name in line} for name in sorted(looks)}
    return {"last_losses": means, "curves": curves}


def run(args: argparse.Namespace, variant: str, command: str) -> None:
    """Trains, measures and writes one variant."""
    family = args.config_file.split("/")[-1].split("_compact")[0]
    name = f"{family}_{variant}_{args.iterations}_seed{args.seed}"
    folder = Path(args.output) / name
    target = Path(args.results or Path(args.output) / "results") / f"{name}.json"
    if target.is_file():
        print(f"{name}: finished before", flush=True)
        return
    cfg = read_config(args, variant, folder)
    folder.mkdir(parents=True, exist_ok=True)
    begin = now()
    trainer = SweepTrainer(cfg)
    trainer.resume_or_load(resume=True)
    if trainer.start_iter < trainer.max_iter:
        trainer.train()
    seconds = now() - begin
    figures = measure(trainer, cfg, args)
    write_json(target, {
        "variant": variant, "options": [str(one) for one in VARIANTS[variant]], "config": args.config_file,
        "iterations": args.iterations, "seed": args.seed, "auc_images": args.auc_images, "ap_images": args.ap_images,
        "protocol": args.protocol, "seconds": seconds, "command": command, **figures, **history(folder),
        "versions": {k: v for k, v in collect_versions().items() if k != "detectron2_path"},
    })  # fmt: skip
    aucs = [f"{figures[k]['auc']['maps']:.3f}/{figures[k]['auc']['both']:.3f}" for k in figures if "hard" in k]
    print(f"{name}: AUC maps/both {' '.join(aucs)}, IoU {figures['hard_pairs_repool_0']['auc']['iou']:.3f}, "
          f"AP {figures['coco']['AP']:.2f}, JI {figures['crowd']['JI']:.2f}, {seconds:.0f} s", flush=True)  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Runs the tool; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    args = argument_parser().parse_args(argv)
    if args.list:
        print("\n".join(f"{name}: {' '.join(str(one) for one in opts)}" for name, opts in VARIANTS.items()))
        return 0
    register_datasets()
    for variant in args.variants or VARIANTS:
        run(args, variant, shlex.join(["tools/research/odam_train_sweep.py", *argv]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
