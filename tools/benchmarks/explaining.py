#!/usr/bin/env python
"""Times explanations beside the stock detector, in one run.

    tools/benchmarks/explaining.py --output output/benchmark.json
    tools/benchmarks/explaining.py --config-file COCO-Detection/retinanet_R_50_FPN_3x.yaml --boxes 100

Maps are made as the config's node ODAM says (METHOD, ENGINE, LAYER, GROUP_NORM, SMOOTHING), so its keys can be given
at the end. Weights are random, with norms calibrated so that outputs are finite: time does not depend on them.
Explained boxes are drawn at random over all sizes, so that every feature level has its share. Each row is the median
over the repeats after a warm-up; the first three take turns. The plain loop runs once over all maps, and its spread is
that of single maps. Memory is the peak of a process of its own that does one thing only.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import benchmarking
import torch
from detectron2.structures import Boxes
from tabulate import tabulate

from odam_d2.cli.arguments import count
from odam_d2.cli.config import read_config
from odam_d2.loading import DetectorConfig
from odam_d2.utils.calibration import calibrate_frozen_norms
from odam_d2.utils.clock import now

ATTRIBUTES = ("score", "left", "top", "right", "bottom")
MEMORY_JOBS = ("inference", "explain")
CLOCKS = {"wall": now, "process": time.process_time}


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = benchmarking.benchmark_parser(__doc__, "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml", repeats=9, warmup=2)
    benchmarking.add_image(parser, 800, 1088)
    benchmarking.add_memory_job(parser, MEMORY_JOBS)
    add = parser.add_argument
    add("--boxes", type=count, default=100, metavar="N",
        help="boxes explained in all attributes (default: %(default)s)")  # fmt: skip
    add("--candidates", type=count, default=1000, metavar="N",
        help="boxes explained in one attribute (default: %(default)s)")  # fmt: skip
    add("--own", action="store_true",
        help="explain the detector's own best detections, not random boxes: for query detectors, whose boxes can't be "
        "chosen; set the score threshold to 0")  # fmt: skip
    add("--clock", choices=list(CLOCKS), default="wall",
        help="process: CPU seconds, which other work on the machine affects less; with --threads 1 "
        "(default: wall)")  # fmt: skip
    add("--skip-loop", action="store_true", help="leave out the per-map loop, which takes minutes")
    return parser


def config_of(args: argparse.Namespace, traced: bool) -> DetectorConfig:
    """The config of the traced or of the stock detector."""
    return read_config(args, traced=traced)


def random_boxes(count: int, height: int, width: int, generator: torch.Generator) -> Boxes:
    """Boxes with sides log-uniform from 16 pixels to the whole image, clipped to it."""
    longest = torch.tensor([float(width), float(height)])
    sides = torch.exp(torch.rand(count, 2, generator=generator) * (longest / 16).log()) * 16
    centres = torch.rand(count, 2, generator=generator) * longest
    boxes = Boxes(torch.cat([centres - sides / 2, centres + sides / 2], 1))
    boxes.clip((height, width))
    return boxes


def random_objects(count: int, height: int, width: int, generator: torch.Generator) -> Boxes:
    """Boxes inside the image that fit an anchor: areas log-uniform from 32^2 pixels on, sides at most 2 : 1."""
    shortest = min(height, width)
    size = torch.exp(torch.rand(count, generator=generator) * torch.tensor(shortest / 1.5 / 32).log()) * 32
    shape = torch.exp((torch.rand(count, generator=generator) - 0.5) * torch.tensor(2.0).log())
    sides = torch.stack([size * shape, size / shape], 1)
    corner = torch.rand(count, 2, generator=generator) * (torch.tensor([float(width), float(height)]) - sides)
    return Boxes(torch.cat([corner, corner + sides], 1))


class Subjects:
    """The image and the boxes of a run, and detectors with the same weights, all from one seed."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        generator = torch.Generator().manual_seed(args.seed)
        height, width = args.size
        self.inputs = benchmarking.model_input(benchmarking.blobs(height, width, generator))
        # Any RoI can be explained; a dense detector explains what fits an anchor.
        draw = random_boxes if "RCNN" in config_of(args, traced=True).architecture else random_objects
        drawn = [draw(number, height, width, generator) for number in (args.boxes, args.candidates)]
        self.boxes, self.candidates = (
            None if args.own else [benchmarking.instances_of(boxes, height, width, classes=20)] for boxes in drawn
        )

    def build(self, traced: bool) -> torch.nn.Module:
        """The traced or the stock detector."""
        torch.manual_seed(self.args.seed)
        model = config_of(self.args, traced).build()
        # On a corner of the image: statistics don't need more, and the peak of memory should be the job's own.
        calibrate_frozen_norms(model, [{"image": self.inputs[0]["image"][:, :256, :256]}])
        return model


@torch.no_grad()
def detect(model: torch.nn.Module, inputs: list[dict]) -> None:
    """Plain inference."""
    model(inputs)


def memory_job(args: argparse.Namespace) -> torch.device:
    """Detects, or also explains, three times with one detector."""
    subjects, explain = Subjects(args), args.memory_job == "explain"
    config, model = config_of(args, traced=explain), subjects.build(traced=explain)
    for _ in range(3):
        detect(model, subjects.inputs)
        if explain:
            config.explainer(model, attributes=ATTRIBUTES)(subjects.inputs, subjects.boxes)
    return model.device


def measure(args: argparse.Namespace) -> benchmarking.Figures:
    """All rows of the benchmark, as they go to JSON."""
    subjects = Subjects(args)
    stock, model, inputs = subjects.build(traced=False), subjects.build(traced=True), subjects.inputs
    config = config_of(args, traced=True)
    full = config.explainer(model, attributes=ATTRIBUTES)
    score = config.explainer(model, attributes=("score",))
    boxes, candidates = (model.trace(inputs, given) for given in (subjects.boxes, subjects.candidates))

    many = f"{len(boxes)} x {len(ATTRIBUTES)}"
    labels = {
        "stock": "stock inference",
        "trace": "inference that keeps the trace",
        "call": "whole call: detect, check, explain what is found",
        "maps": f"all maps, {many}",
        "candidates": f"all maps, {len(candidates)} x 1",
        "loop": f"one autograd call a map, {many}",
    }
    turns = {
        "stock": lambda: detect(stock, inputs),
        "trace": lambda: model.trace(inputs),
        "call": lambda: full(inputs),
    }
    rounds = (args.repeats, args.warmup, CLOCKS[args.clock])
    rows = benchmarking.timed_in_turns(turns, *rounds)
    rows |= benchmarking.timed_in_turns({"maps": lambda: full.heat_maps(boxes)}, *rounds)
    rows |= benchmarking.timed_in_turns({"candidates": lambda: score.heat_maps(candidates)}, *rounds)
    if not args.skip_loop:
        single = benchmarking.row(benchmarking.single_map_seconds(model, boxes, ATTRIBUTES))
        rows["loop"] = {**single, "seconds": sum(single["all_seconds"]), "seconds_per_map": single["seconds"]}
    for name, row in rows.items():
        row["label"] = labels[name]
        row["share_of_inference"] = row["seconds"] / rows["stock"]["seconds"]
    levels = torch.bincount(boxes.level_index[:, 0], minlength=len(boxes.level_names)).tolist()
    return {
        "rows": rows,
        "boxes_per_level": dict(zip(boxes.level_names, levels, strict=True)),
        "peak_mib": {job: benchmarking.peak_memory(__file__, args, job) for job in MEMORY_JOBS},
        "device": str(model.device),
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as a Markdown table with the ratios that matter below."""
    rows = figures["rows"]
    body = [
        [row["label"], *benchmarking.spread(row), f"{100 * row['share_of_inference']:.1f} %"] for row in rows.values()
    ]
    lines = [tabulate(body, ["what", "seconds", "spread", "of stock inference"], tablefmt="github"), ""]
    if "loop" in rows:
        times = rows["loop"]["seconds"] / rows["maps"]["seconds"]
        lines.append(f"Per-map loop / all maps at once: {times:.0f} times (the loop's spread is that of single maps).")
    inference, explain = figures["peak_mib"]["inference"], figures["peak_mib"]["explain"]
    lines.append(
        f"Peak memory: {inference:.0f} MiB detecting, {explain:.0f} MiB explaining: {explain / inference:.2f} times."
    )
    lines.append(f"Explained boxes a level: {figures['boxes_per_level']}; device: {figures['device']}.")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark and returns its exit code."""
    return benchmarking.run_benchmark(argument_parser(), measure, table, argv, memory_job)


if __name__ == "__main__":
    sys.exit(main())
