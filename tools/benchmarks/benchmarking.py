"""What the benchmarks share: arguments, images, clocks, the peak of a process, and how figures are printed and kept."""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import odam_d2  # noqa: F401  before Detectron2, whose import warns of itself

# isort: split
import torch
from detectron2.structures import Boxes, Instances
from tqdm import tqdm

from odam_d2.cli.arguments import (
    add_config,
    add_output_json,
    add_seed,
    add_threads,
    count,
    failure,
    script_parser,
    whole,
)
from odam_d2.env import collect_versions
from odam_d2.explain import build_explainer
from odam_d2.structures import DetectionTrace
from odam_d2.utils.clock import now, peak_mib
from odam_d2.utils.files import write_json

Figures = dict[str, Any]


def benchmark_parser(doc: str | None, config: str, repeats: int, warmup: int | None = None) -> argparse.ArgumentParser:
    """The arguments that every benchmark has.

    Args:
        doc: docstring of the script.
        config: default of ``--config-file``.
        repeats: default of ``--repeats``.
        warmup: default of ``--warmup``; None for a benchmark without it.
    """
    parser = script_parser(doc)
    add_config(parser, config)
    add = parser.add_argument
    add("--repeats", type=count, default=repeats, metavar="N", help="timed runs of each row (default: %(default)s)")
    if warmup is not None:
        add("--warmup", type=whole, default=warmup, metavar="N", help="runs before them (default: %(default)s)")
    add_threads(parser)
    add_output_json(parser)
    return parser


def add_image(parser: argparse.ArgumentParser, height: int, width: int) -> None:
    """Adds ``--size`` and ``--seed`` for an image of :func:`blobs`; the sides are the default."""
    parser.add_argument("--size", type=count, nargs=2, default=(height, width), metavar=("H", "W"),
                        help=f"height and width of the model input (default: {height} {width})")  # fmt: skip
    add_seed(parser, "weights, image and boxes")


def add_memory_job(parser: argparse.ArgumentParser, jobs: Sequence[str]) -> None:
    """Adds the hidden argument with which a benchmark starts itself to do one thing and tell its peak memory."""
    parser.add_argument("--memory-job", choices=list(jobs), help=argparse.SUPPRESS)


def run_benchmark(
    parser: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace], Figures],
    table: Callable[[Figures], str],
    argv: Sequence[str] | None = None,
    memory_job: Callable[[argparse.Namespace], torch.device] | None = None,
) -> int:
    """A benchmark from its arguments to its exit code: measures, prints the table, writes the JSON file.

    Args:
        parser: of :func:`benchmark_parser`.
        measure: gives the figures, without settings and versions, which are added.
        table: the figures as text.
        argv: the arguments; default those of this process.
        memory_job: does what ``--memory-job`` names, and says on which device.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    args = parser.parse_args(argv)
    hidden = {"output", "memory_job", "threshold"}
    settings = {name: value for name, value in vars(args).items() if name not in hidden}
    args.argv = argv
    torch.set_num_threads(args.threads)
    try:
        if memory_job is not None and args.memory_job:
            print(json.dumps({"peak_mib": peak_mib(memory_job(args))}))
            return 0
        figures = {**measure(args), "settings": settings}
    except (ValueError, ImportError) as error:
        return failure(error)
    figures["versions"] = {name: value for name, value in collect_versions().items() if name != "detectron2_path"}
    print(table(figures))
    if args.output:
        write_json(args.output, figures)
        print(f"Written to {args.output}")
    return 0


def peak_memory(script: str, args: argparse.Namespace, job: str, *options: str) -> float:
    """Peak memory in MiB, resident or on a GPU, of a process that does only one job.

    Args:
        script: the benchmark's file.
        args: what the benchmark was called with.
        job: for ``--memory-job``.
        options: more arguments.
    """
    command = [sys.executable, script, "--memory-job", job, *options, *args.argv]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.strip().splitlines()[-1])["peak_mib"])


def blobs(height: int, width: int, generator: torch.Generator) -> torch.Tensor:
    """(3, height, width) float32 image of smooth blobs of colour."""
    coarse = torch.rand(1, 3, height // 16 + 1, width // 16 + 1, generator=generator)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0] * 255


def model_input(image: torch.Tensor) -> list[dict]:
    """A batch of one image."""
    return [{"image": image, "height": image.shape[1], "width": image.shape[2]}]


def instances_of(boxes: Boxes, height: int, width: int, classes: int) -> Instances:
    """Boxes to explain, of `classes` classes in turn."""
    return Instances((height, width), pred_boxes=boxes, pred_classes=torch.arange(len(boxes)) % classes)


def timed_in_turns(
    works: Mapping[str, Callable[[], Any]], repeats: int, warmup: int, clock: Callable[[], float] = now
) -> dict[str, Figures]:
    """Times several works in rounds, so that other work on the machine affects all of them.

    Args:
        works: what to do, by name.
        repeats: timed rounds.
        warmup: rounds before them.
        clock: gives seconds.

    Returns:
        For each the :func:`row` of its seconds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in tqdm(range(warmup + repeats), desc=", ".join(works), leave=False):
        for name, work in works.items():
            begin = clock()
            work()
            if number >= warmup:
                seconds[name].append(clock() - begin)
    return {name: row(every) for name, every in seconds.items()}


def row(seconds: Sequence[float]) -> Figures:
    """Median, extremes and all of some seconds."""
    every = list(seconds)
    return {"seconds": statistics.median(every), "least": min(every), "most": max(every), "all_seconds": every}


def spread(one: Figures, digits: int = 3) -> list[str]:
    """The median and the extremes of a :func:`row` for a table."""
    return [f"{one['seconds']:.{digits}f}", f"{one['least']:.{digits}f} - {one['most']:.{digits}f}"]


def single_map_seconds(model: torch.nn.Module, trace: DetectionTrace, attributes: Sequence[str]) -> list[float]:
    """Seconds of each map where every map has an autograd call of its own, through the plain engine."""
    explainer = build_explainer(model, attributes=attributes, engine="autograd")
    engine, seconds = explainer.choose_engine(trace), []
    engine.gradients.batched = False
    with tqdm(total=len(trace) * len(attributes), desc="maps one by one", leave=False) as progress:
        begin = now()
        for chunk in engine.gradient_windows(trace, attributes, smoothing=0.0):
            explainer.combine(chunk)
            maps, moment = len(chunk.detections) * len(attributes), now()
            seconds += [(moment - begin) / maps] * maps
            begin = moment
            progress.update(maps)
    return seconds
