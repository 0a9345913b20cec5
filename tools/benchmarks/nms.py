#!/usr/bin/env python
"""Times Odam-NMS beside the stock detector's own suppression, in one run.

    tools/benchmarks/nms.py --output output/nms.json
    tools/benchmarks/nms.py --config-file COCO-Detection/retinanet_R_50_FPN_3x.yaml --candidates 300

Weights are random, with norms calibrated so that outputs are finite. For each number of candidates the score threshold
is set so that this many boxes of the image pass, for both detectors. Whole inferences, from the image to the
detections, take turns, so that other work on the machine affects all of them; each row is the median over the
repeats after a warm-up. The per-map loop is extrapolated from a sample of single autograd calls. Memory is the peak of
a process of its own that does one thing only.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import benchmarking
import torch
from tabulate import tabulate
from tqdm import tqdm

from odam_d2.cli.arguments import count, whole
from odam_d2.cli.config import read_config
from odam_d2.explain import build_explainer
from odam_d2.ops.nms import odam_nms
from odam_d2.structures import DetectionTrace
from odam_d2.utils.calibration import calibrate_frozen_norms
from odam_d2.utils.clock import now

STOCK, SUPPRESSED = "stock inference", "inference with Odam-NMS"


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = benchmarking.benchmark_parser(__doc__, "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml", repeats=7, warmup=2)
    benchmarking.add_image(parser, 800, 1088)
    benchmarking.add_memory_job(parser, (STOCK, SUPPRESSED))
    add = parser.add_argument
    add("--candidates", type=count, nargs="+", default=(300, 1000), metavar="N",
        help="boxes above the score threshold, in turn (default: 300 1000)")  # fmt: skip
    add("--sample", type=whole, default=8, metavar="N",
        help="single autograd calls to time; 0 leaves them out (default: %(default)s)")  # fmt: skip
    add("--threshold", type=float, help=argparse.SUPPRESS)
    return parser


class Subjects:
    """The image of a run, and detectors with the same weights whose score thresholds set the number of candidates."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        image = benchmarking.blobs(*args.size, torch.Generator().manual_seed(args.seed))
        self.inputs = benchmarking.model_input(image)

    def build(self, suppressed: bool) -> torch.nn.Module:
        """The stock detector, or ours with Odam-NMS."""
        config = read_config(self.args, traced=suppressed)
        config.odam.NMS.ENABLED = suppressed
        config.odam.NMS.MAX_CANDIDATES = max(self.args.candidates)
        torch.manual_seed(self.args.seed)
        model = config.build()
        calibrate_frozen_norms(model, [{"image": self.inputs[0]["image"][:, :256, :256]}])
        return model

    def threshold(self, model: torch.nn.Module, count: int) -> float:
        """The score that `count` boxes of the image pass, fewer where scores are equal."""
        let_pass(model, 0.0)
        return float(best_candidates(model, self.inputs, count + 1).instances[0].scores.min())

    @torch.no_grad()
    def detect(self, model: torch.nn.Module) -> None:
        """Whole inference."""
        model(self.inputs)


def best_candidates(model: torch.nn.Module, inputs: list[dict], count: int) -> DetectionTrace:
    """The trace of the `count` best candidates."""
    before, model.odam_nms.max_candidates = model.odam_nms.max_candidates, count
    try:
        return model.candidate_trace(inputs)
    finally:
        model.odam_nms.max_candidates = before


def let_pass(model: torch.nn.Module, threshold: float) -> None:
    """Sets the score threshold of a detector."""
    if not hasattr(model, "roi_heads"):
        model.test_score_thresh = threshold
        return
    predictor = model.roi_heads.box_predictor
    for one in predictor if isinstance(predictor, torch.nn.ModuleList) else [predictor]:
        one.test_score_thresh = threshold


def timed_parts(model: torch.nn.Module, inputs: list[dict], args: argparse.Namespace) -> dict[str, Any]:
    """Rows for what Odam-NMS adds to detection, part by part: maps, their similarity, and the choice."""
    trace, nms = model.candidate_trace(inputs), model.odam_nms
    explainer = build_explainer(model, attributes=(nms.attribute,), engine=nms.engine, group_norm=nms.group_norm)
    seconds: dict[str, list[float]] = {"maps": [], "similarity": [], "choice": []}
    for number in tqdm(range(args.warmup + args.repeats), desc="parts", leave=False):
        moments = [now()]
        (maps,) = explainer.heat_maps(trace)
        moments.append(now())
        similarity = maps.similarity(nms.attribute, nms.stride)
        moments.append(now())
        (found,) = trace.instances
        odam_nms(found.pred_boxes.tensor, found.scores, found.pred_classes, similarity, *nms.thresholds)
        moments.append(now())
        if number >= args.warmup:
            for k, name in enumerate(seconds):
                seconds[name].append(moments[k + 1] - moments[k])
    return {name: benchmarking.row(every) for name, every in seconds.items()}


def memory_job(args: argparse.Namespace) -> torch.device:
    """Detects three times with one detector."""
    subjects = Subjects(args)
    model = subjects.build(suppressed=args.memory_job == SUPPRESSED)
    let_pass(model, args.threshold)
    for _ in range(3):
        subjects.detect(model)
    return model.device


def measure(args: argparse.Namespace) -> benchmarking.Figures:
    """All figures, as they go to JSON."""
    subjects = Subjects(args)
    models = {STOCK: subjects.build(suppressed=False), SUPPRESSED: subjects.build(suppressed=True)}
    ours, figures, threshold = models[SUPPRESSED], [], 0.0
    works = {name: (lambda model=model: subjects.detect(model)) for name, model in models.items()}
    for number in sorted(args.candidates):
        threshold = subjects.threshold(ours, number)
        for model in models.values():
            let_pass(model, threshold)
        (found,) = ours.candidate_trace(subjects.inputs).instances
        rows = benchmarking.timed_in_turns(works, args.repeats, args.warmup)
        one = {"candidates": len(found), "rows": rows, "parts": timed_parts(ours, subjects.inputs, args)}
        one["share"] = rows[SUPPRESSED]["seconds"] / rows[STOCK]["seconds"] - 1.0
        if args.sample:
            best = best_candidates(ours, subjects.inputs, args.sample)
            one["loop"] = benchmarking.row(benchmarking.single_map_seconds(ours, best, (ours.odam_nms.attribute,)))
        figures.append(one)
    passed = ("--threshold", repr(threshold))
    return {
        "figures": figures,
        "peak_mib": {job: benchmarking.peak_memory(__file__, args, job, *passed) for job in (STOCK, SUPPRESSED)},
        "device": str(ours.device),
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as a Markdown table with the ratios that matter below."""
    body, lines = [], []
    for one in figures["figures"]:
        stock = one["rows"][STOCK]["seconds"]
        for name, row in [*one["rows"].items(), *((f"  {name}", row) for name, row in one["parts"].items())]:
            share = f"{100 * row['seconds'] / stock:.1f} %"
            body.append([one["candidates"], name, *benchmarking.spread(row), share])
        text = f"{one['candidates']} candidates: Odam-NMS adds {100 * one['share']:.1f} % to stock inference"
        if "loop" in one:
            single = one["loop"]["seconds"]
            whole = single * one["candidates"]
            text += (
                f"; their maps one by one would take {whole:.0f} s, {100 * whole / stock:.0f} % (extrapolated from "
                f"{len(one['loop']['all_seconds'])} autograd calls of {single:.3f} s)"
            )
        lines.append(f"{text}.")
    stock, ours = figures["peak_mib"][STOCK], figures["peak_mib"][SUPPRESSED]
    lines.append(f"Peak memory: {stock:.0f} MiB stock, {ours:.0f} MiB with Odam-NMS: {ours / stock:.2f} times.")
    lines.append(f"Device: {figures['device']}.")
    headers = ["candidates", "what", "seconds", "spread", "of stock inference"]
    return "\n".join([tabulate(body, headers, tablefmt="github", preserve_whitespace=True), "", *lines])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark and returns its exit code."""
    return benchmarking.run_benchmark(argument_parser(), measure, table, argv, memory_job)


if __name__ == "__main__":
    sys.exit(main())
