#!/usr/bin/env python
"""Times a training iteration by explanations, first and second order, beside a stock one, in one run.

    tools/benchmarks/training.py --output output/training.json
    tools/benchmarks/training.py --config-file synthetic/fcos_compact_FPN_odam_train --no-amp

All three begin with the same weights, see the same synthetic crowds, and take turns iteration by iteration, so that
other work on the machine affects all of them. An iteration is forward, backward and the optimizer's step, without
loading data. Rows are medians after a warm-up. Memory is the peak of a process of its own that trains in one way only.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import benchmarking
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import detection_utils
from detectron2.utils.events import EventStorage
from tabulate import tabulate

from odam_d2.cli.arguments import add_seed
from odam_d2.cli.config import read_config, require_yaml
from odam_d2.data.synthetic.scenes import SyntheticScenes
from odam_d2.engine import OdamTrainer
from odam_d2.utils.checkpoint import OdamCheckpointer

# What a run is compared by: the way to train -> its label, the share of the weight that stays, and SECOND_ORDER.
WAYS = {
    "stock": ("stock", 0.0, False),
    "first": ("by explanations, first order", 1.0, False),
    "second": ("by explanations, second order", 1.0, True),
}
MEMORY_STEPS = 3


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    config = "synthetic/faster_rcnn_compact_FPN_odam_train"
    parser = benchmarking.benchmark_parser(__doc__, config, repeats=9, warmup=2)
    benchmarking.add_memory_job(parser, list(WAYS))
    add_seed(parser, "proposals and new layers")
    add = parser.add_argument
    add("--profile", default="crowd", choices=("crowd", "scene"), help="kind of images (default: %(default)s)")
    add("--no-amp", action="store_true", help="single precision, whatever SOLVER.AMP.ENABLED says")
    add("--skip-memory", action="store_true", help="time only")
    return parser


def config_of(args: argparse.Namespace, way: str) -> CfgNode:
    """The config of one way to train.

    Raises:
        ValueError: if it doesn't train by explanations.
    """
    cfg = require_yaml(read_config(args))
    if not cfg.ODAM.TRAIN.WEIGHT > 0:
        raise ValueError(f"`ODAM.TRAIN.WEIGHT` of {args.config_file} must be greater than 0; got 0: add it")
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
        OdamCheckpointer(self.model).load(cfg.MODEL.WEIGHTS)
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


def memory_job(args: argparse.Namespace) -> torch.device:
    """Trains in one way for a moment."""
    cfg = config_of(args, args.memory_job)
    way, batch = Way(cfg, args.seed), make_batch(cfg, args.profile)
    for _ in range(MEMORY_STEPS):
        way.step(batch)
    return torch.device(cfg.MODEL.DEVICE)


def measure(args: argparse.Namespace) -> benchmarking.Figures:
    """All figures of the benchmark, as they go to JSON."""
    ways = {name: Way(config_of(args, name), args.seed) for name in WAYS}
    cfg, logged = ways["stock"].cfg, {}
    batch = make_batch(cfg, args.profile)

    def step(name: str) -> None:
        logged[name] = ways[name].step(batch)

    works = {name: (lambda name=name: step(name)) for name in ways}
    rows = benchmarking.timed_in_turns(works, args.repeats, args.warmup)
    for name, row in rows.items():
        pairs = zip(row["all_seconds"], rows["stock"]["all_seconds"], strict=True)
        row |= {"label": WAYS[name][0], "times_stock": statistics.median(one / stock for one, stock in pairs)}
    return {
        "rows": rows,
        "peak_mib": {} if args.skip_memory else {n: benchmarking.peak_memory(__file__, args, n) for n in WAYS},
        "work": {key: value for key, value in logged["first"].items() if key.startswith("odam/")},
        "images": len(batch),
        "amp": cfg.SOLVER.AMP.ENABLED,
        "device": cfg.MODEL.DEVICE,
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as a Markdown table, with the work of an iteration below."""
    peaks, body = figures["peak_mib"], []
    for name, row in figures["rows"].items():
        peak = f"{peaks[name]:.0f} MiB, {peaks[name] / peaks['stock']:.2f} x" if peaks else ""
        body.append([row["label"], *benchmarking.spread(row), f"{row['times_stock']:.2f} x", peak])
    work = figures["work"]
    pairs = f"{work['odam/pairs_same']:.0f} pairs of one object and {work['odam/pairs_other']:.0f} of two"
    return "\n".join(
        [
            tabulate(body, ["iteration", "seconds", "spread", "of stock", "peak memory"], tablefmt="github"),
            "",
            f"{figures['images']} images, {work['odam/maps']:.0f} maps, {pairs}; device: {figures['device']}, "
            f"{'mixed' if figures['amp'] else 'single'} precision. Ratios are medians over rounds.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark and returns its exit code."""
    return benchmarking.run_benchmark(argument_parser(), measure, table, argv, memory_job)


if __name__ == "__main__":
    sys.exit(main())
