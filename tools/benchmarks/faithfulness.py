#!/usr/bin/env python
"""Times deletion and insertion: one object, one step, one image after the other, and all of them together.

    tools/benchmarks/faithfulness.py --output output/faithfulness.json
    tools/benchmarks/faithfulness.py --config-file synthetic/retinanet_compact_FPN --objects 5 --repeats 5

All ways score the same images from candidates before suppression; the first calls the detector, the others a copy of
it for inference. They give the same numbers, but for the last, which runs in mixed precision: the table has the largest
difference. Rounds alternate between the ways, so that other work on the machine affects all of them, and the ratio
is the median over the rounds after a warm-up. Objects are the detector's own best candidates in an image of smooth
blobs; the heat is random.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any

import benchmarking
import torch
from tabulate import tabulate

from odam_d2.cli.arguments import count
from odam_d2.cli.config import build_bundled_or_random, read_config
from odam_d2.evaluation import faithfulness_curves, object_scorer
from odam_d2.evaluation.metrics.faithfulness import FaithfulnessCurves
from odam_d2.modeling import inference_copy
from odam_d2.utils.devices import device_of

LOOP, TOGETHER, SIDE_BY_SIDE = "one by one", "together", "together, side by side"
MIXED = "side by side, mixed precision"


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = benchmarking.benchmark_parser(__doc__, "synthetic/faster_rcnn_compact_FPN", repeats=5, warmup=1)
    benchmarking.add_image(parser, 480, 640)
    add = parser.add_argument
    add("--objects", type=count, default=5, metavar="N", help="objects in the image (default: %(default)s)")
    add("--batch-size", type=count, default=8, metavar="N", help="images at a time (default: %(default)s)")
    return parser


class Subject:
    """A detector with an image, objects that it sees there, and random heat."""

    def __init__(self, args: argparse.Namespace):
        generator = torch.Generator().manual_seed(args.seed)
        height, width = args.size
        self.image = benchmarking.blobs(height, width, generator)
        self.heat = torch.rand(args.objects, height, width, generator=generator)
        config = read_config(args, trained=True)
        self.model: Any = build_bundled_or_random(config, benchmarking.model_input(self.image))
        with torch.inference_mode():
            ((boxes, scores),) = self.model.candidates([{"image": self.image}])
        rows = scores.amax(1).topk(args.objects).indices
        self.classes = scores[rows].argmax(1)
        chosen = boxes[rows] if boxes.dim() == 2 else boxes[rows, self.classes]
        self.boxes = chosen.clamp(min=0).minimum(chosen.new_tensor([width, height] * 2))
        self.quick = inference_copy(self.model)

    def one_by_one(self) -> FaithfulnessCurves:
        """A forward pass for each image of each object."""
        score = object_scorer(self.model, workers=1)
        alone = [
            faithfulness_curves(score, self.image, self.heat[[k]], self.classes[[k]], self.boxes[[k]], batch_size=1)
            for k in range(len(self.boxes))
        ]
        return FaithfulnessCurves(
            *(torch.cat([getattr(one, way) for one in alone]) for way in ("deletion", "insertion"))
        )

    def together(self, batch_size: int, workers: int, amp: bool = False) -> FaithfulnessCurves:
        """All at once, each different image one time."""
        score = object_scorer(self.quick, workers, amp)
        return faithfulness_curves(score, self.image, self.heat, self.classes, self.boxes, batch_size)


def measure(args: argparse.Namespace) -> benchmarking.Figures:
    """All rows of the benchmark, as they go to JSON."""
    torch.manual_seed(args.seed)
    subject, curves = Subject(args), {}
    jobs: dict[str, Callable[[], FaithfulnessCurves]] = {
        LOOP: subject.one_by_one,
        TOGETHER: lambda: subject.together(args.batch_size, 1),
        SIDE_BY_SIDE: lambda: subject.together(args.batch_size, args.threads),
        MIXED: lambda: subject.together(args.batch_size, args.threads, amp=True),
    }

    def draw(name: str) -> None:
        curves[name] = jobs[name]()

    works = {name: (lambda name=name: draw(name)) for name in jobs}
    rows = benchmarking.timed_in_turns(works, args.repeats, args.warmup)
    for name, row in rows.items():
        pairs = zip(rows[LOOP]["all_seconds"], row["all_seconds"], strict=True)
        ratios = [loop / own for loop, own in pairs]
        apart = [(getattr(curves[name], way) - getattr(curves[LOOP], way)).abs() for way in ("deletion", "insertion")]
        row |= {
            "times_faster": statistics.median(ratios),
            "all_times_faster": ratios,
            "largest_difference": max(float(difference.amax()) for difference in apart),
        }
    return {"rows": rows, "device": str(device_of(subject.model))}


def table(figures: dict[str, Any]) -> str:
    """The figures as a Markdown table with the settings below."""
    rows, settings = figures["rows"], figures["settings"]
    body = [
        [
            name,
            *benchmarking.spread(row, digits=2),
            f"{row['times_faster']:.2f}",
            f"{min(row['all_times_faster']):.2f} - {max(row['all_times_faster']):.2f}",
            f"{row['largest_difference']:.1e}",
        ]
        for name, row in rows.items()
    ]
    height, width = settings["size"]
    lines = [
        tabulate(body, ["how", "seconds", "spread", "times faster", "spread ", "scores apart"], tablefmt="github"),
        "",
        "Scores apart: from those of one by one, the largest difference.",
        f"{settings['objects']} objects on {height} x {width}, {settings['config_file']}, "
        f"{settings['threads']} threads, batches of {settings['batch_size']}; {figures['device']}.",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark and returns its exit code."""
    return benchmarking.run_benchmark(argument_parser(), measure, table, argv)


if __name__ == "__main__":
    sys.exit(main())
