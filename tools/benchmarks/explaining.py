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
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import odam_d2  # noqa: F401  before Detectron2, whose import warns of itself

# isort: split
import torch
from detectron2 import model_zoo as detectron2_zoo
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from tabulate import tabulate
from tqdm import tqdm

from odam_d2.config import add_odam_config, use_traced_architectures
from odam_d2.env import collect_versions
from odam_d2.explain import build_explainer, explainer_from_config
from odam_d2.structures import DetectionTrace
from odam_d2.utils.calibration import calibrate_frozen_norms
from odam_d2.utils.clock import now, peak_mib
from odam_d2.utils.files import write_json
from odam_d2.utils.imports import import_file_or_module

ATTRIBUTES = ("score", "left", "top", "right", "bottom")
MEMORY_JOBS = ("inference", "explain")
CLOCKS = {"wall": now, "process": time.process_time}


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config-file", default="COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml", metavar="YAML",
        help="a yaml file, or a name of Detectron2's model zoo (default: %(default)s)")  # fmt: skip
    add("--size", type=int, nargs=2, default=(800, 1088), metavar=("H", "W"), help="model input (default: 800 1088)")
    add("--boxes", type=int, default=100, help="boxes explained in all attributes (default: %(default)s)")
    add("--candidates", type=int, default=1000, help="boxes explained in one attribute (default: %(default)s)")
    add("--own", action="store_true",
        help="explain the detector's own best detections, not random boxes: for query detectors, which find what they "
        "find; set the score threshold to 0")  # fmt: skip
    add("--repeats", type=int, default=9, help="timed runs of each row (default: %(default)s)")
    add("--warmup", type=int, default=2, help="runs before them (default: %(default)s)")
    add("--clock", choices=list(CLOCKS), default="wall",
        help="process: the CPU's seconds, which other work on the machine touches less; with --threads 1 "
        "(default: wall)")  # fmt: skip
    add("--threads", type=int, default=2, help="torch threads (default: %(default)s)")
    add("--seed", type=int, default=0, help="of weights, image and boxes (default: %(default)s)")
    add("--skip-loop", action="store_true", help="leave out the per-map loop, which takes minutes")
    add("--output", metavar="JSON", help="also write the figures with versions to this file")
    add("--import", dest="imports", action="append", default=[], metavar="FILE_OR_MODULE", help="import this first")
    add("--memory-job", choices=MEMORY_JOBS, help=argparse.SUPPRESS)
    add("opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="changes to the config, at the end")
    return parser


def read_config(args: argparse.Namespace, traced: bool) -> CfgNode:
    """The config of the traced or of the stock detector."""
    for name in args.imports:
        import_file_or_module(name)
    cfg = get_cfg()
    add_odam_config(cfg)
    path = args.config_file if Path(args.config_file).is_file() else detectron2_zoo.get_config_file(args.config_file)
    cfg.merge_from_file(path)
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    cfg.merge_from_list(args.opts)
    if traced:
        use_traced_architectures(cfg)
    return cfg


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
        torch.set_num_threads(args.threads)
        self.args = args
        generator = torch.Generator().manual_seed(args.seed)
        height, width = args.size
        coarse = torch.rand(1, 3, height // 16 + 1, width // 16 + 1, generator=generator)
        image = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0] * 255
        self.inputs = [{"image": image, "height": height, "width": width}]
        # Any RoI can be explained; a dense detector explains what fits an anchor.
        draw = random_boxes if "RCNN" in read_config(args, traced=True).MODEL.META_ARCHITECTURE else random_objects
        self.boxes, self.candidates = (
            None if args.own else [Instances((height, width), pred_boxes=boxes, pred_classes=torch.arange(count) % 20)]
            for count, boxes in ((n, draw(n, height, width, generator)) for n in (args.boxes, args.candidates))
        )

    def build(self, traced: bool) -> torch.nn.Module:
        """The traced or the stock detector."""
        torch.manual_seed(self.args.seed)
        model = build_model(read_config(self.args, traced)).eval()
        # On a corner of the image: statistics don't need more, and the peak of memory shall be the job's own.
        calibrate_frozen_norms(model, [{"image": self.inputs[0]["image"][:, :256, :256]}])
        return model


@torch.no_grad()
def detect(model: torch.nn.Module, inputs: list[dict]) -> None:
    """Plain inference."""
    model(inputs)


def timed(label: str, work: Callable[[], Any], args: argparse.Namespace) -> dict[str, Any]:
    """Median, extremes and all seconds of `work`, after a warm-up."""
    (row,) = timed_in_turns({label: work}, args)
    return row


def timed_in_turns(works: Mapping[str, Callable[[], Any]], args: argparse.Namespace) -> list[dict[str, Any]]:
    """The same for several, by label: one run of each, then the next of each, so that a machine's moods meet all."""
    seconds: dict[str, list[float]] = {label: [] for label in works}
    for number in tqdm(range(args.warmup + args.repeats), desc=", ".join(works), leave=False):
        for label, work in works.items():
            begin = CLOCKS[args.clock]()
            work()
            if number >= args.warmup:
                seconds[label].append(CLOCKS[args.clock]() - begin)
    return [_row(label, every, statistics.median(every)) for label, every in seconds.items()]


def per_map_loop(model: torch.nn.Module, trace: DetectionTrace, label: str) -> dict[str, Any]:
    """Every map by an autograd call of its own, through the plain engine."""
    explainer = build_explainer(model, attributes=ATTRIBUTES, engine="autograd")
    engine, seconds = explainer.choose_engine(trace), []
    engine.gradients.batched = False
    with tqdm(total=len(trace) * len(ATTRIBUTES), desc=label, leave=False) as progress:
        begin = now()
        for chunk in engine.gradient_windows(trace, ATTRIBUTES, smoothing=0.0):
            explainer.combine(chunk)
            maps = len(chunk.detections) * len(ATTRIBUTES)
            moment = now()
            seconds += [(moment - begin) / maps] * maps
            begin = moment
            progress.update(maps)
    return _row(label, seconds, sum(seconds)) | {"seconds_per_map": statistics.median(seconds)}


def peak_memory(args: argparse.Namespace, job: str) -> float:
    """Peak resident memory in MiB (on a GPU: allocated there) of a process that does only `job`."""
    command = [sys.executable, __file__, "--config-file", args.config_file, "--memory-job", job, "--size"]
    command += [str(n) for n in args.size] + ["--boxes", str(args.boxes), "--seed", str(args.seed)]
    command += ["--threads", str(args.threads), *(f"--import={name}" for name in args.imports)]
    command += [*(["--own"] if args.own else []), *args.opts]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.strip().splitlines()[-1])["peak_mib"])


def memory_job(args: argparse.Namespace) -> None:
    """Runs one job with one detector and prints its peak; the other half of :func:`peak_memory`."""
    subjects = Subjects(args)
    cfg = read_config(args, traced=args.memory_job == "explain")
    model = subjects.build(traced=args.memory_job == "explain")
    for _ in range(3):
        detect(model, subjects.inputs)
        if args.memory_job == "explain":
            explainer_from_config(model, cfg, attributes=ATTRIBUTES)(subjects.inputs, subjects.boxes)
    print(json.dumps({"peak_mib": peak_mib(model.device)}))


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All rows of the benchmark, as they go to JSON."""
    subjects = Subjects(args)
    stock, model, inputs = subjects.build(traced=False), subjects.build(traced=True), subjects.inputs
    cfg = read_config(args, traced=True)
    full = explainer_from_config(model, cfg, attributes=ATTRIBUTES)
    score = explainer_from_config(model, cfg, attributes=("score",))
    boxes, candidates = (model.trace(inputs, given) for given in (subjects.boxes, subjects.candidates))

    many = f"{len(boxes)} x {len(ATTRIBUTES)}"
    turns = {
        "stock inference": lambda: detect(stock, inputs),
        "inference that keeps the trace": lambda: model.trace(inputs),
        "whole call: detect, check, explain what is found": lambda: full(inputs),
    }
    rows = dict(zip(("stock", "trace", "call"), timed_in_turns(turns, args), strict=True))
    rows["maps"] = timed(f"all maps, {many}", lambda: full.heat_maps(boxes), args)
    rows["candidates"] = timed(f"all maps, {len(candidates)} x 1", lambda: score.heat_maps(candidates), args)
    if not args.skip_loop:
        rows["loop"] = per_map_loop(model, boxes, f"one autograd call a map, {many}")
    for row in rows.values():
        row["share_of_inference"] = row["seconds"] / rows["stock"]["seconds"]
    levels = torch.bincount(boxes.level_index[:, 0], minlength=len(boxes.level_names)).tolist()
    return {
        "rows": rows,
        "boxes_per_level": dict(zip(boxes.level_names, levels, strict=True)),
        "peak_mib": {job: peak_memory(args, job) for job in MEMORY_JOBS},
        "device": str(model.device),
        "settings": {k: v for k, v in vars(args).items() if k not in ("output", "memory_job")},
        "versions": {k: v for k, v in collect_versions().items() if k != "detectron2_path"},
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as a Markdown table with the ratios that matter below."""
    rows = figures["rows"]
    body = [
        [
            row["label"],
            f"{row['seconds']:.3f}",
            f"{row['least']:.3f} - {row['most']:.3f}",
            f"{100 * row['share_of_inference']:.1f} %",
        ]
        for row in rows.values()
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


def _row(label: str, seconds: list[float], value: float) -> dict[str, Any]:
    return {"label": label, "seconds": value, "least": min(seconds), "most": max(seconds), "all_seconds": seconds}


def main(argv: list[str] | None = None) -> int:
    """Runs the tool; returns its exit code."""
    args = argument_parser().parse_args(argv)
    if args.memory_job:
        memory_job(args)
        return 0
    figures = run(args)
    print(table(figures))
    if args.output:
        write_json(args.output, figures)
        print(f"Written to {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
