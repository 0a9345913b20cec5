#!/usr/bin/env python
"""Times deletion and insertion: one object, one step, one image after the other, and all of them together.

    tools/benchmarks/faithfulness.py --output output/faithfulness.json
    tools/benchmarks/faithfulness.py --config-file synthetic/retinanet_compact_FPN --objects 5 --repeats 5

All sides score the same images from candidates before suppression; the first asks the detector, the others a copy of
it that is made for being asked. They give the same numbers, but for the last, which asks in mixed precision: how far
apart they are stands in the table. Rounds alternate between them, so that a busy machine is busy for all, and the ratio
is the median over the rounds after a warm-up. Objects are the detector's own best candidates in an image of smooth
blobs, heat is random.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from typing import Any

import torch
from tabulate import tabulate
from tqdm import tqdm

from odam_d2 import model_zoo
from odam_d2.env import collect_versions
from odam_d2.evaluation import faithfulness_curves, object_scorer
from odam_d2.evaluation.metrics.faithfulness import FaithfulnessCurves
from odam_d2.modeling import inference_copy
from odam_d2.utils.clock import now
from odam_d2.utils.files import write_json

LOOP, TOGETHER, SIDE_BY_SIDE = "one by one", "together", "together, side by side"
MIXED = "side by side, mixed precision"


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config-file", default="synthetic/faster_rcnn_compact_FPN", metavar="NAME",
        help="a name of the model zoo (default: %(default)s)")  # fmt: skip
    add("--size", type=int, nargs=2, default=(480, 640), metavar=("H", "W"), help="model input (default: 480 640)")
    add("--objects", type=int, default=5, help="in the image (default: %(default)s)")
    add("--batch-size", type=int, default=8, help="images at a time (default: %(default)s)")
    add("--repeats", type=int, default=5, help="timed rounds (default: %(default)s)")
    add("--warmup", type=int, default=1, help="rounds before them (default: %(default)s)")
    add("--threads", type=int, default=2, help="torch threads, and parts side by side (default: %(default)s)")
    add("--seed", type=int, default=0, help="of weights, image and heat (default: %(default)s)")
    add("--output", metavar="JSON", help="also write the figures with versions to this file")
    return parser


class Subject:
    """A detector with an image, objects that it sees there, and random heat."""

    def __init__(self, args: argparse.Namespace):
        generator = torch.Generator().manual_seed(args.seed)
        height, width = args.size
        coarse = torch.rand(1, 3, height // 16 + 1, width // 16 + 1, generator=generator)
        self.image = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0] * 255
        self.heat = torch.rand(args.objects, height, width, generator=generator)
        self.model = model_zoo.get(args.config_file, trained=args.config_file in model_zoo.available())
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


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All rows of the benchmark, as they go to JSON."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    subject = Subject(args)
    jobs: dict[str, Callable[[], FaithfulnessCurves]] = {
        LOOP: subject.one_by_one,
        TOGETHER: lambda: subject.together(args.batch_size, 1),
        SIDE_BY_SIDE: lambda: subject.together(args.batch_size, args.threads),
        MIXED: lambda: subject.together(args.batch_size, args.threads, amp=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    curves: dict[str, FaithfulnessCurves] = {}
    for number in tqdm(range(args.warmup + args.repeats), desc="rounds"):
        for name, job in jobs.items():
            begin = now()
            curves[name] = job()
            if number >= args.warmup:
                seconds[name].append(now() - begin)
    rows = {}
    for name, values in seconds.items():
        ratios = [loop / own for loop, own in zip(seconds[LOOP], values, strict=True)]
        apart = [(getattr(curves[name], way) - getattr(curves[LOOP], way)).abs() for way in ("deletion", "insertion")]
        rows[name] = {
            "seconds": statistics.median(values),
            "all_seconds": values,
            "times_faster": statistics.median(ratios),
            "all_times_faster": ratios,
            "largest_difference": max(float(difference.amax()) for difference in apart),
        }
    return {
        "rows": rows,
        "device": str(next(subject.model.parameters()).device),
        "settings": {name: value for name, value in vars(args).items() if name != "output"},
        "versions": {name: value for name, value in collect_versions().items() if name != "detectron2_path"},
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as a Markdown table with the settings below."""
    rows, settings = figures["rows"], figures["settings"]
    body = [
        [
            name,
            f"{row['seconds']:.2f}",
            f"{min(row['all_seconds']):.2f} - {max(row['all_seconds']):.2f}",
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
