#!/usr/bin/env python
"""Times the methods on one image: each alone, all gradient methods together, and D-RISE beside ODAM.

    tools/benchmarks/methods.py --masks 5000 --output output/methods.json
    tools/benchmarks/methods.py --config-file synthetic/retinanet_compact_FPN --size 320 416 --boxes 10

Explained are given boxes, by whole calls from the image to the maps, all for the attribute that every method has,
``score``. Times of gradient methods are the median over the repeats after a warm-up; D-RISE runs once, with as many
masks as are asked for. Weights are random where none are bundled: times hardly depend on them.
"""

import argparse
import statistics
import sys
from typing import Any

import odam_d2  # noqa: F401  before Detectron2, whose import warns of itself

# isort: split
import torch
from detectron2.structures import Boxes, Instances
from tabulate import tabulate

from odam_d2 import model_zoo
from odam_d2.env import collect_versions
from odam_d2.explain import METHODS, Explainer, comparison_from_config, explainer_from_config
from odam_d2.utils.clock import now
from odam_d2.utils.files import write_json

TOGETHER = "all gradient methods together"
ATTRIBUTES = ("score",)


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config-file", default="synthetic/faster_rcnn_compact_FPN", metavar="NAME",
        help="a name of the model zoo (default: %(default)s)")  # fmt: skip
    add("--size", type=int, nargs=2, default=(480, 640), metavar=("H", "W"), help="model input (default: 480 640)")
    add("--boxes", type=int, default=20, help="boxes explained in the image (default: %(default)s)")
    add("--masks", type=int, default=5000, help="masks of D-RISE; 0 leaves it out (default: %(default)s)")
    add("--batch-size", type=int, default=8, help="masked images at a time (default: %(default)s)")
    add("--repeats", type=int, default=5, help="timed runs of each gradient method (default: %(default)s)")
    add("--threads", type=int, default=2, help="torch threads (default: %(default)s)")
    add("--seed", type=int, default=0, help="of weights, image and boxes (default: %(default)s)")
    add("--output", metavar="JSON", help="also write the figures with versions to this file")
    return parser


def image_and_boxes(args: argparse.Namespace) -> tuple[list[dict], list[Instances]]:
    """Smooth blobs of colour, and boxes with sides from an eighth to a half of the image's shorter side."""
    generator = torch.Generator().manual_seed(args.seed)
    height, width = args.size
    coarse = torch.rand(1, 3, height // 16 + 1, width // 16 + 1, generator=generator)
    image = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0] * 255
    sides = (torch.rand(args.boxes, 1, generator=generator) * 0.375 + 0.125) * min(height, width)
    corner = torch.rand(args.boxes, 2, generator=generator) * (torch.tensor([float(width), float(height)]) - sides)
    boxes = Instances(
        (height, width),
        pred_boxes=Boxes(torch.cat([corner, corner + sides], 1)),
        pred_classes=torch.zeros(args.boxes, dtype=torch.int64),
    )
    return [{"image": image, "height": height, "width": width}], [boxes]


def timed(explainer: Explainer, subject: tuple, repeats: int, warmup: int = 1) -> dict[str, Any]:
    """Median and all seconds of whole calls."""
    seconds = []
    for number in range(warmup + repeats):
        begin = now()
        explainer(*subject)
        if number >= warmup:
            seconds.append(now() - begin)
    return {"seconds": statistics.median(seconds), "all_seconds": seconds}


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All rows of the benchmark, as they go to JSON."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    model = model_zoo.get(args.config_file, trained=args.config_file in model_zoo.available())
    subject = image_and_boxes(args)
    names = [name for name, cls in METHODS.items() if cls.uses_gradients]
    cfg, about = model_zoo.get_config(args.config_file, trained=False), {"attributes": ATTRIBUTES}
    rows = {
        name: timed(explainer_from_config(model, cfg, method=name, **about), subject, args.repeats) for name in names
    }
    rows[TOGETHER] = timed(comparison_from_config(model, cfg, names, **about), subject, args.repeats)
    if args.masks:
        masks = {"num_masks": args.masks, "batch_size": args.batch_size}
        drise = explainer_from_config(model, cfg, method="drise", **masks, **about)
        rows["drise"] = timed(drise, subject, repeats=1, warmup=0)
    return {
        "rows": rows,
        "device": str(next(model.parameters()).device),
        "settings": {name: value for name, value in vars(args).items() if name != "output"},
        "versions": {name: value for name, value in collect_versions().items() if name != "detectron2_path"},
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as a Markdown table with the ratios that matter below."""
    rows, settings = figures["rows"], figures["settings"]
    odam = rows["odam"]["seconds"]
    body = [
        [
            name,
            f"{row['seconds']:.3f}",
            f"{min(row['all_seconds']):.3f} - {max(row['all_seconds']):.3f}",
            f"{row['seconds'] / odam:.1f}",
        ]
        for name, row in rows.items()
    ]
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


def main(argv: list[str] | None = None) -> int:
    """Runs the tool; returns its exit code."""
    args = argument_parser().parse_args(argv)
    figures = run(args)
    print(table(figures))
    if args.output:
        write_json(args.output, figures)
        print(f"Written to {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
