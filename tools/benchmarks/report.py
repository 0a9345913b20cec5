#!/usr/bin/env python
"""Times odam explain, files and report included, beside detecting and explaining the same images alone, in one run.

    tools/benchmarks/report.py --output output/report.json
    tools/benchmarks/report.py --images 1 --detections 1000

Images are synthetic scenes of 640 x 480. Both sides read them and explain the best boxes of each, however low their
scores; the command also builds its detector, draws, and writes what it always writes. They take turns, after one run
each on a single image.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import benchmarking
from PIL import Image
from tabulate import tabulate
from tqdm import tqdm

from odam_d2.cli import explain as explain_command
from odam_d2.cli.arguments import count, whole
from odam_d2.cli.config import read_run_config, require_yaml
from odam_d2.data.images import read_image_bgr
from odam_d2.data.synthetic.scenes import SyntheticScenes

ALONE, COMMAND = "detecting and explaining alone", "odam explain"


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = benchmarking.benchmark_parser(__doc__, "synthetic/faster_rcnn_compact_FPN", repeats=3)
    add = parser.add_argument
    add("--images", type=count, default=60, metavar="N", help="how many images (default: %(default)s)")
    add("--detections", type=count, default=10, metavar="N", help="boxes explained in each (default: %(default)s)")
    add("--strips", type=whole, default=3, metavar="N", help="see odam explain (default: %(default)s)")
    return parser


class Subject:
    """Images in a folder, and both ways to explain them.

    Args:
        args: the command line.
        folder: gets the images, and what the command writes.
    """

    def __init__(self, args: argparse.Namespace, folder: Path):
        self.args, self.folder = args, folder
        scenes = SyntheticScenes("scene", "val")
        self.paths = [folder / "images" / f"{k:04d}.jpg" for k in range(args.images)]
        (folder / "images").mkdir()
        for k, path in enumerate(tqdm(self.paths, desc="rendering", unit="image", leave=False)):
            Image.fromarray(scenes[k][0][:, :, ::-1]).save(path, quality=95)
        # Every proposal for every class, and as many as are asked for of what is left.
        self.opts = ["MODEL.ROI_HEADS.NMS_THRESH_TEST", "1.0"] if args.detections > 100 else []
        self.opts += ["TEST.DETECTIONS_PER_IMAGE", str(args.detections), *args.opts]
        config = read_run_config(argparse.Namespace(**{**vars(args), "opts": self.opts}), 0.0, args.detections)
        require_yaml(config)
        model = config.build()
        config.load_weights(model)
        self.explainer, self.make_input = config.explainer(model), config.make_input()
        self.boxes: dict[str, int] = {}

    def alone(self, paths: Sequence[Path]) -> None:
        """Reads, detects and explains."""
        found = [self.explainer([self.make_input(read_image_bgr(path))])[0]["instances"] for path in paths]
        self.boxes[ALONE] = sum(map(len, found))

    def by_command(self, paths: Sequence[Path]) -> None:
        """The whole command on the same images."""
        output = self.folder / "output"
        source = self.folder / "images" / ("*.jpg" if len(paths) > 1 else paths[0].name)
        command = ["--config-file", self.args.config_file, "--input", str(source), "--output", str(output)]
        command += ["--score-threshold", "0", "--max-detections", str(self.args.detections)]
        command += [f"--import={name}" for name in self.args.imports]
        command += [f"--config-hook={name}" for name in self.args.config_hooks]
        if explain_command.main([*command, "--strips", str(self.args.strips), *self.opts]):
            raise RuntimeError("odam explain failed; what it printed says why")
        about = json.loads((output / "run.json").read_text(encoding="utf-8"))
        self.boxes[COMMAND] = sum(one["detections"] for one in about["images"])


def measure(args: argparse.Namespace) -> benchmarking.Figures:
    """The figures, as they go to JSON."""
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject(args, Path(folder))
        sides = {ALONE: subject.alone, COMMAND: subject.by_command}
        for side in sides.values():
            side(subject.paths[:1])
        works = {name: (lambda side=side: side(subject.paths)) for name, side in sides.items()}
        rows = benchmarking.timed_in_turns(works, args.repeats, 0)
    alone, whole_command = (rows[name]["all_seconds"] for name in sides)
    return {
        "rows": {name: {**row, "boxes": subject.boxes[name]} for name, row in rows.items()},
        "ratio": rows[COMMAND]["seconds"] / rows[ALONE]["seconds"],
        "all_ratios": [one / other for one, other in zip(whole_command, alone, strict=True)],
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as a Markdown table with their ratio below."""
    body = [[name, row["boxes"], *benchmarking.spread(row, digits=2)] for name, row in figures["rows"].items()]
    ratios = figures["all_ratios"]
    return "\n".join(
        [
            tabulate(body, ["what", "boxes", "seconds", "spread"], tablefmt="github", disable_numparse=True),
            "",
            f"Ratio: {figures['ratio']:.2f} ({min(ratios):.2f} - {max(ratios):.2f}).",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark and returns its exit code."""
    return benchmarking.run_benchmark(argument_parser(), measure, table, argv)


if __name__ == "__main__":
    sys.exit(main())
