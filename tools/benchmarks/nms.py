#!/usr/bin/env python
"""Times Odam-NMS beside the stock detector's own suppression, in one run.

    tools/benchmarks/nms.py --output output/nms.json
    tools/benchmarks/nms.py --config-file COCO-Detection/retinanet_R_50_FPN_3x.yaml --candidates 300

Weights are random, with norms calibrated so that outputs are finite. For each number of candidates the score threshold
is set so that this many boxes of the image pass, for both detectors. Whole inferences, from the image to the
detections, take turns, so that whatever else the machine does strikes all of them; each row is the median over the
repeats after a warm-up. The per-map loop is extrapolated from a sample of single autograd calls. Memory is the peak of
a process of its own that does one thing only.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import odam_d2  # noqa: F401  before Detectron2, whose import warns of itself

# isort: split
import torch
from detectron2.modeling import build_model
from tabulate import tabulate
from tqdm import tqdm

from odam_d2.env import collect_versions
from odam_d2.explain import build_explainer
from odam_d2.ops.nms import odam_nms
from odam_d2.structures import DetectionTrace
from odam_d2.utils.calibration import calibrate_frozen_norms
from odam_d2.utils.clock import now, peak_mib
from odam_d2.utils.files import write_json
from odam_d2.utils.imports import import_file_or_module

benchmark = import_file_or_module(str(Path(__file__).with_name("explaining.py")))

STOCK, SUPPRESSED = "stock inference", "inference with Odam-NMS"


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config-file", default="COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml", metavar="YAML",
        help="a yaml file, or a name of Detectron2's model zoo (default: %(default)s)")  # fmt: skip
    add("--size", type=int, nargs=2, default=(800, 1088), metavar=("H", "W"), help="model input (default: 800 1088)")
    add("--candidates", type=int, nargs="+", default=(300, 1000), metavar="N",
        help="boxes above the score threshold, in turn (default: 300 1000)")  # fmt: skip
    add("--repeats", type=int, default=7, help="timed runs of each row (default: %(default)s)")
    add("--warmup", type=int, default=2, help="runs before them (default: %(default)s)")
    add("--sample", type=int, default=8, help="single autograd calls timed; 0 leaves them out (default: %(default)s)")
    add("--threads", type=int, default=2, help="torch threads (default: %(default)s)")
    add("--seed", type=int, default=0, help="of weights and image (default: %(default)s)")
    add("--output", metavar="JSON", help="also write the figures with versions to this file")
    add("--import", dest="imports", action="append", default=[], metavar="FILE_OR_MODULE", help="import this first")
    add("--memory-job", choices=(STOCK, SUPPRESSED), help=argparse.SUPPRESS)
    add("--threshold", type=float, help=argparse.SUPPRESS)
    add("opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="changes to the config, at the end")
    return parser


class Subjects:
    """The image of a run, and detectors with the same weights that find as many candidates in it as they are told."""

    def __init__(self, args: argparse.Namespace):
        torch.set_num_threads(args.threads)
        self.args = args
        height, width = args.size
        generator = torch.Generator().manual_seed(args.seed)
        coarse = torch.rand(1, 3, height // 16 + 1, width // 16 + 1, generator=generator)
        image = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0] * 255
        self.inputs = [{"image": image, "height": height, "width": width}]

    def build(self, suppressed: bool) -> torch.nn.Module:
        """The stock detector, or ours with Odam-NMS."""
        cfg = benchmark.read_config(self.args, traced=suppressed)
        cfg.ODAM.NMS.ENABLED = suppressed
        cfg.ODAM.NMS.MAX_CANDIDATES = max(self.args.candidates)
        torch.manual_seed(self.args.seed)
        model = build_model(cfg).eval()
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


def timed_in_turns(subjects: Subjects, models: dict[str, torch.nn.Module], label: str) -> dict[str, dict[str, Any]]:
    """Median, extremes and all seconds of each detector's inference."""
    args, seconds = subjects.args, {name: [] for name in models}
    for number in tqdm(range(args.warmup + args.repeats), desc=label, leave=False):
        for name, model in models.items():
            begin = now()
            subjects.detect(model)
            if number >= args.warmup:
                seconds[name].append(now() - begin)
    return {name: _row(all_seconds) for name, all_seconds in seconds.items()}


def timed_parts(model: torch.nn.Module, inputs: list[dict], args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The same for what Odam-NMS adds to detection, part by part: maps, their likeness, and the choice."""
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
    return {name: _row(all_seconds) for name, all_seconds in seconds.items()}


def seconds_per_map(model: torch.nn.Module, inputs: list[dict], sample: int) -> dict[str, Any]:
    """What a map takes by an autograd call of its own, for the best `sample` candidates."""
    trace = best_candidates(model, inputs, sample)
    attributes = (model.odam_nms.attribute,)
    explainer = build_explainer(model, attributes=attributes, engine="autograd")
    engine, seconds = explainer.choose_engine(trace), []
    engine.gradients.batched = False
    begin = now()
    for chunk in tqdm(engine.gradient_windows(trace, attributes, 0.0), desc="loop", total=len(trace), leave=False):
        explainer.combine(chunk)
        seconds.append(now() - begin)
        begin = now()
    return _row(seconds)


def peak_memory(args: argparse.Namespace, job: str, threshold: float) -> float:
    """Peak resident memory in MiB (on a GPU: allocated there) of a process that does only `job`."""
    command = [sys.executable, __file__, "--config-file", args.config_file, "--memory-job", job, "--size"]
    command += [*map(str, args.size), "--candidates", str(max(args.candidates)), "--seed", str(args.seed)]
    command += ["--threads", str(args.threads), "--threshold", repr(threshold)]
    command += [*(f"--import={name}" for name in args.imports), *args.opts]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.strip().splitlines()[-1])["peak_mib"])


def memory_job(args: argparse.Namespace) -> None:
    """Lets one detector detect three times and prints its peak; the other half of :func:`peak_memory`."""
    subjects = Subjects(args)
    model = subjects.build(suppressed=args.memory_job == SUPPRESSED)
    let_pass(model, args.threshold)
    for _ in range(3):
        subjects.detect(model)
    print(json.dumps({"peak_mib": peak_mib(model.device)}))


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All figures, as they go to JSON."""
    subjects = Subjects(args)
    models = {STOCK: subjects.build(suppressed=False), SUPPRESSED: subjects.build(suppressed=True)}
    ours, figures = models[SUPPRESSED], []
    for count in sorted(args.candidates):
        threshold = subjects.threshold(ours, count)
        for model in models.values():
            let_pass(model, threshold)
        (found,) = ours.candidate_trace(subjects.inputs).instances
        rows = timed_in_turns(subjects, models, f"{count} candidates")
        one = {"candidates": len(found), "rows": rows, "parts": timed_parts(ours, subjects.inputs, args)}
        one["share"] = rows[SUPPRESSED]["seconds"] / rows[STOCK]["seconds"] - 1.0
        if args.sample:
            one["loop"] = seconds_per_map(ours, subjects.inputs, args.sample)
        figures.append(one)
    return {
        "figures": figures,
        "peak_mib": {job: peak_memory(args, job, threshold) for job in (STOCK, SUPPRESSED)},
        "device": str(ours.device),
        "settings": {k: v for k, v in vars(args).items() if k not in ("output", "memory_job", "threshold")},
        "versions": {k: v for k, v in collect_versions().items() if k != "detectron2_path"},
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as a Markdown table with the ratios that matter below."""
    body, lines = [], []
    for one in figures["figures"]:
        stock = one["rows"][STOCK]["seconds"]
        for name, row in [*one["rows"].items(), *((f"  {name}", row) for name, row in one["parts"].items())]:
            spread, share = f"{row['least']:.3f} - {row['most']:.3f}", f"{100 * row['seconds'] / stock:.1f} %"
            body.append([one["candidates"], name, f"{row['seconds']:.3f}", spread, share])
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


def _row(seconds: list[float]) -> dict[str, Any]:
    return {
        "seconds": statistics.median(seconds), "least": min(seconds), "most": max(seconds), "all_seconds": seconds
    }  # fmt: skip


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
