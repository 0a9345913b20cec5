#!/usr/bin/env python
"""Times a training iteration by explanations, first and second order, beside the stock one, in one run.

    tools/benchmarks/training.py --output output/training.json
    tools/benchmarks/training.py --config-file synthetic/fcos_compact_FPN_odam_train --no-amp

All three begin with the same weights, see the same synthetic crowds, and take turns iteration by iteration, so that
what else the machine does slows all of them. An iteration is forward, backward and the optimizer's step, without
loading data. Rows are medians after a warm-up. Memory is the peak of a process of its own that trains in one way only.
"""

import argparse
import json
import statistics
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import odam_d2  # noqa: F401  before Detectron2, whose import warns of itself

# isort: split
import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.data import detection_utils
from detectron2.utils.events import EventStorage
from tabulate import tabulate
from tqdm import tqdm

from odam_d2 import model_zoo
from odam_d2.data.synthetic.scenes import SyntheticScenes
from odam_d2.engine import OdamTrainer
from odam_d2.env import collect_versions
from odam_d2.utils.clock import now, peak_mib
from odam_d2.utils.files import write_json
from odam_d2.utils.imports import import_file_or_module

# What a run is compared by: the way to train -> its label, the share of the weight that stays, and SECOND_ORDER.
WAYS = {
    "stock": ("stock", 0.0, False),
    "first": ("by explanations, first order", 1.0, False),
    "second": ("by explanations, second order", 1.0, True),
}
AIMS = {"first": 1.2, "second": 1.6}
MEMORY_AIM = 1.25
MEMORY_STEPS = 3


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config-file", default="synthetic/faster_rcnn_compact_FPN_odam_train", metavar="NAME",
        help="of the model zoo, with ODAM.TRAIN.WEIGHT above 0 (default: %(default)s)")  # fmt: skip
    add("--profile", default="crowd", choices=("crowd", "scene"), help="of images (default: %(default)s)")
    add("--repeats", type=int, default=9, help="timed iterations of each way (default: %(default)s)")
    add("--warmup", type=int, default=2, help="iterations before them (default: %(default)s)")
    add("--threads", type=int, default=2, help="torch threads (default: %(default)s)")
    add("--seed", type=int, default=0, help="of proposals and new layers (default: %(default)s)")
    add("--no-amp", action="store_true", help="single precision, whatever SOLVER.AMP.ENABLED says")
    add("--skip-memory", action="store_true", help="time only")
    add("--output", metavar="JSON", help="also write the figures with versions to this file")
    add("--import", dest="imports", action="append", default=[], metavar="FILE_OR_MODULE", help="import this first")
    add("--memory-job", choices=WAYS, help=argparse.SUPPRESS)
    add("opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="changes to the config, at the end")
    return parser


def read_config(args: argparse.Namespace, way: str) -> CfgNode:
    """The config of one way to train."""
    for name in args.imports:
        import_file_or_module(name)
    cfg = model_zoo.get_config(args.config_file, trained=False)
    cfg.merge_from_list(args.opts)
    if not cfg.ODAM.TRAIN.WEIGHT > 0:
        raise SystemExit(f"error: `ODAM.TRAIN.WEIGHT` of {args.config_file} must be greater than 0; got 0: add it")
    _, share, cfg.ODAM.TRAIN.SECOND_ORDER = WAYS[way]
    cfg.ODAM.TRAIN.WEIGHT *= share
    cfg.SOLVER.AMP.ENABLED = cfg.SOLVER.AMP.ENABLED and not args.no_amp
    return cfg


def make_batch(cfg: CfgNode, profile: str) -> list[dict]:
    """One batch of synthetic images, at their own size, as a data loader gives it."""
    scenes = SyntheticScenes(profile, "train", cfg.SOLVER.IMS_PER_BATCH)
    batch = []
    for image, record in scenes:
        height, width = image.shape[:2]
        kept = [one for one in record["annotations"] if not one["iscrowd"]]
        for one in kept:
            one["bbox"] = np.clip(one["bbox"], 0, [width, height] * 2).tolist()
        objects = detection_utils.annotations_to_instances(kept, (height, width), "bitmask")
        pixels = torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1)))
        batch.append({"image": pixels, "image_id": record["image_id"], "instances": objects})
    return batch


class Way:
    """A detector that is trained in one of the ways.

    Args:
        cfg: of this way.
        seed: of layers that the weights have no values for, and of every step.
    """

    def __init__(self, cfg: CfgNode, seed: int):
        torch.manual_seed(seed)
        self.cfg, self.seed = cfg, seed
        self.model = OdamTrainer.build_model(cfg).train()
        DetectionCheckpointer(self.model).load(cfg.MODEL.WEIGHTS)
        self.optimizer = OdamTrainer.build_optimizer(cfg, self.model)

    def step(self, batch: list[dict]) -> dict[str, float]:
        """One iteration on a batch; what it logged."""
        device, amp = torch.device(self.cfg.MODEL.DEVICE).type, self.cfg.SOLVER.AMP.ENABLED
        context = torch.autocast(device, dtype=torch.bfloat16) if amp else nullcontext()
        torch.manual_seed(self.seed)
        with EventStorage(0) as storage, context:
            losses = sum(self.model(batch).values())
        self.optimizer.zero_grad()
        losses.backward()
        self.optimizer.step()
        return {name: value for name, (value, _) in storage.latest().items()}


def peak_memory(args: argparse.Namespace, way: str) -> float:
    """Peak resident memory in MiB (on a GPU: allocated there) of a process that trains in one way."""
    command = [sys.executable, __file__, "--config-file", args.config_file, "--memory-job", way]
    command += ["--profile", args.profile, "--threads", str(args.threads), "--seed", str(args.seed)]
    command += [*(["--no-amp"] if args.no_amp else []), *(f"--import={name}" for name in args.imports), *args.opts]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.strip().splitlines()[-1])["peak_mib"])


def memory_job(args: argparse.Namespace) -> None:
    """Trains in one way for a moment and prints the peak; the other half of :func:`peak_memory`."""
    torch.set_num_threads(args.threads)
    cfg = read_config(args, args.memory_job)
    way, batch = Way(cfg, args.seed), make_batch(cfg, args.profile)
    for _ in range(MEMORY_STEPS):
        way.step(batch)
    print(json.dumps({"peak_mib": peak_mib(torch.device(cfg.MODEL.DEVICE))}))


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All figures of the benchmark, as they go to JSON."""
    torch.set_num_threads(args.threads)
    ways = {name: Way(read_config(args, name), args.seed) for name in WAYS}
    cfg = ways["stock"].cfg
    batch = make_batch(cfg, args.profile)
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    logged: dict[str, float] = {}
    for number in tqdm(range(args.warmup + args.repeats), desc="rounds", leave=False):
        for name, way in ways.items():
            begin = now()
            found = way.step(batch)
            if number >= args.warmup:
                seconds[name].append(now() - begin)
            logged |= {key: value for key, value in found.items() if key.startswith("odam/") and name == "first"}
    rows = {}
    for name, taken in seconds.items():
        ratios = [one / stock for one, stock in zip(taken, seconds["stock"], strict=True)]
        rows[name] = {
            "label": WAYS[name][0], "seconds": statistics.median(taken), "least": min(taken), "most": max(taken),
            "all_seconds": taken, "times_stock": statistics.median(ratios),
        }  # fmt: skip
    return {
        "rows": rows,
        "peak_mib": {} if args.skip_memory else {name: peak_memory(args, name) for name in WAYS},
        "work": logged,
        "images": len(batch),
        "amp": cfg.SOLVER.AMP.ENABLED,
        "device": cfg.MODEL.DEVICE,
        "settings": {k: v for k, v in vars(args).items() if k not in ("output", "memory_job")},
        "versions": {k: v for k, v in collect_versions().items() if k != "detectron2_path"},
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as a Markdown table, and what they were aimed at below."""
    peaks = figures["peak_mib"]
    body = []
    for name, row in figures["rows"].items():
        peak = f"{peaks[name]:.0f} MiB, {peaks[name] / peaks['stock']:.2f} x" if peaks else ""
        spread = f"{row['least']:.3f} - {row['most']:.3f}"
        body.append([row["label"], f"{row['seconds']:.3f}", spread, f"{row['times_stock']:.2f} x", peak])
    work = figures["work"]
    pairs = f"{work['odam/pairs_same']:.0f} pairs of one object and {work['odam/pairs_other']:.0f} of two"
    aims = ", ".join(f"{name} order at most {aim} x" for name, aim in AIMS.items())
    return "\n".join(
        [
            tabulate(body, ["iteration", "seconds", "spread", "of stock", "peak memory"], tablefmt="github"),
            "",
            f"{figures['images']} images, {work['odam/maps']:.0f} maps, {pairs}; device: {figures['device']}, "
            f"{'mixed' if figures['amp'] else 'single'} precision.",
            f"Ratios are medians over rounds. Aims: {aims}, memory at most {MEMORY_AIM} x.",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Runs the tool; returns its exit code."""
    args = argument_parser().parse_args(argv)
    if args.memory_job:
        memory_job(args)
        return 0
    figures = run(args)
    print(table(figures))
    if args.output:
        write_json(Path(args.output), figures)
        print(f"Written to {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
