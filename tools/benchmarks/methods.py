#!/usr/bin/env python
"""Times the methods on one image: each alone, all gradient methods together, and D-RISE beside ODAM.

    tools/benchmarks/methods.py --masks 5000 --output output/methods.json
    tools/benchmarks/methods.py --config-file synthetic/retinanet_compact_FPN --size 320 416 --boxes 10

Explained are given boxes, by whole calls from the image to the maps, all for the attribute that every method has,
``score``. Times of gradient methods are the median over the repeats after a warm-up; D-RISE runs once, with as many
masks as are asked for. Weights are random where none are bundled: times hardly depend on them.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import benchmarking
import torch
from detectron2.structures import Boxes
from tabulate import tabulate

from odam_d2.cli.arguments import count, whole
from odam_d2.cli.config import build_bundled_or_random, read_config
from odam_d2.explain import METHODS
from odam_d2.utils.devices import device_of

TOGETHER = "all gradient methods together"
ATTRIBUTES = ("score",)


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = benchmarking.benchmark_parser(__doc__, "synthetic/faster_rcnn_compact_FPN", repeats=5)
    benchmarking.add_image(parser, 480, 640)
    add = parser.add_argument
    add("--boxes", type=count, default=20, metavar="N", help="boxes explained in the image (default: %(default)s)")
    add(
        "--masks", type=whole, default=5000, metavar="N", help="masks of D-RISE; 0 leaves it out (default: %(default)s)"
    )
    add("--batch-size", type=count, default=8, metavar="N", help="masked images at a time (default: %(default)s)")
    return parser


def image_and_boxes(args: argparse.Namespace) -> tuple[list[dict], list]:
    """Smooth blobs of colour, and boxes with sides from an eighth to a half of the image's shorter side."""
    generator = torch.Generator().manual_seed(args.seed)
    height, width = args.size
    image = benchmarking.blobs(height, width, generator)
    sides = (torch.rand(args.boxes, 1, generator=generator) * 0.375 + 0.125) * min(height, width)
    corner = torch.rand(args.boxes, 2, generator=generator) * (torch.tensor([float(width), float(height)]) - sides)
    boxes = Boxes(torch.cat([corner, corner + sides], 1))
    return benchmarking.model_input(image), [benchmarking.instances_of(boxes, height, width, classes=1)]


def measure(args: argparse.Namespace) -> benchmarking.Figures:
    """All rows of the benchmark, as they go to JSON."""
    torch.manual_seed(args.seed)
    inputs, given = image_and_boxes(args)
    config = read_config(args, trained=True)
    model = build_bundled_or_random(config, inputs)
    names = [name for name, cls in METHODS.items() if cls.uses_gradients]
    explainers: dict[str, Any] = {name: config.explainer(model, method=name, attributes=ATTRIBUTES) for name in names}
    explainers[TOGETHER] = config.comparison(model, names, attributes=ATTRIBUTES)
    rows: dict[str, Any] = {}
    for name, explain in explainers.items():
        rows |= benchmarking.timed_in_turns({name: lambda explain=explain: explain(inputs, given)}, args.repeats, 1)
    if args.masks:
        masks = {"num_masks": args.masks, "batch_size": args.batch_size}
        drise = config.explainer(model, method="drise", attributes=ATTRIBUTES, **masks)
        rows |= benchmarking.timed_in_turns({"drise": lambda: drise(inputs, given)}, 1, 0)
    return {"rows": rows, "device": str(device_of(model))}


def table(figures: dict[str, Any]) -> str:
    """The figures as a Markdown table with the ratios that matter below."""
    rows, settings = figures["rows"], figures["settings"]
    odam = rows["odam"]["seconds"]
    body = [[name, *benchmarking.spread(row), f"{row['seconds'] / odam:.1f}"] for name, row in rows.items()]
    alone = sum(row["seconds"] for name, row in rows.items() if name not in (TOGETHER, "drise"))
    lines = [
        tabulate(body, ["method", "seconds", "spread", "of ODAM's"], tablefmt="github"),
        "",
        f"Gradient methods one after the other: {alone:.3f} s; together: {rows[TOGETHER]['seconds']:.3f} s.",
    ]
    if "drise" in rows:
        ratio = rows["drise"]["seconds"] / odam
        lines.append(f"D-RISE with {settings['masks']} masks / ODAM: {ratio:.0f} times.")
    height, width = settings["size"]
    lines.append(f"{settings['boxes']} boxes on {height} x {width}, {settings['config_file']}; {figures['device']}.")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark and returns its exit code."""
    return benchmarking.run_benchmark(argument_parser(), measure, table, argv)


if __name__ == "__main__":
    sys.exit(main())
