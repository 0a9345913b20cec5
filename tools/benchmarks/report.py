#!/usr/bin/env python
"""Times tools/explain.py, files and report included, beside detecting and explaining the same images alone, in one run.

    tools/benchmarks/report.py --output output/report.json
    tools/benchmarks/report.py --images 1 --detections 1000

Images are synthetic scenes of 640 x 480. Both sides read them and explain the best boxes of each, however low their
scores; the tool builds its detector besides, draws, and writes what it always writes. They take turns.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import odam_d2  # noqa: F401  before Detectron2, whose import warns of itself

# isort: split
import torch
from detectron2.data import transforms as T  # noqa: N812  Detectron2's own habit
from PIL import Image
from tabulate import tabulate
from tqdm import tqdm

from odam_d2.cli import explain as explain_command
from odam_d2.cli.config import build_detector, read_run_config
from odam_d2.data.images import read_image_bgr
from odam_d2.data.synthetic.scenes import SyntheticScenes
from odam_d2.env import collect_versions
from odam_d2.explain import explainer_from_config
from odam_d2.utils.checkpoint import load_checkpoint_strictly
from odam_d2.utils.clock import now
from odam_d2.utils.files import write_json

ALONE, TOOL = "detecting and explaining alone", "tools/explain.py"


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config-file", default="synthetic/faster_rcnn_compact_FPN", metavar="NAME",
        help="a name of the model zoo (default: %(default)s)")  # fmt: skip
    add("--images", type=int, default=60, help="how many (default: %(default)s)")
    add("--detections", type=int, default=10, help="boxes explained in each (default: %(default)s)")
    add("--strips", type=int, default=3, help="see tools/explain.py (default: %(default)s)")
    add("--repeats", type=int, default=3, help="timed runs of each side, after one of a single image (default: 3)")
    add("--threads", type=int, default=2, help="torch threads (default: %(default)s)")
    add("--output", metavar="JSON", help="also write the figures with versions to this file")
    return parser


class Subject:
    """Images in a folder, and both ways to explain them.

    Args:
        args: the command line.
        folder: gets the images, and what the tool writes.
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
        self.opts += ["TEST.DETECTIONS_PER_IMAGE", str(args.detections)]
        cfg = read_run_config(args.config_file, self.opts, 0.0, args.detections)
        self.model = build_detector(cfg)
        load_checkpoint_strictly(self.model, cfg.MODEL.WEIGHTS)
        self.explainer = explainer_from_config(self.model, cfg)
        self.resize = T.ResizeShortestEdge([cfg.INPUT.MIN_SIZE_TEST] * 2, cfg.INPUT.MAX_SIZE_TEST)
        self.tool = explain_command

    def alone(self, paths: list[Path]) -> int:
        """Reads, detects and explains; says how many boxes that were."""
        found = 0
        for path in paths:
            image = read_image_bgr(path)
            pixels = self.resize.get_transform(image).apply_image(image)
            tensor = torch.as_tensor(pixels.astype("float32").transpose(2, 0, 1))
            entry = {"image": tensor, "height": image.shape[0], "width": image.shape[1]}
            found += len(self.explainer([entry])[0]["instances"])
        return found

    def by_tool(self, paths: list[Path]) -> int:
        """The whole tool on the same images; says how many boxes that were."""
        output = self.folder / "output"
        source = self.folder / "images" / ("*.jpg" if len(paths) > 1 else paths[0].name)
        command = ["--config-file", self.args.config_file, "--input", str(source), "--output", str(output)]
        command += ["--score-threshold", "0", "--max-detections", str(self.args.detections)]
        if self.tool.main([*command, "--strips", str(self.args.strips), *self.opts]):
            raise RuntimeError("tools/explain.py failed; what it printed says why")
        about = json.loads((output / "run.json").read_text(encoding="utf-8"))
        return sum(one["detections"] for one in about["images"])


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The figures, as they go to JSON."""
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject(args, Path(folder))
        sides = {ALONE: subject.alone, TOOL: subject.by_tool}
        for side in sides.values():
            side(subject.paths[:1])
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        boxes: dict[str, int] = {}
        for _ in range(args.repeats):
            for name, side in sides.items():
                begin = now()
                boxes[name] = side(subject.paths)
                seconds[name].append(now() - begin)
    alone, tool = (seconds[name] for name in sides)
    return {
        "rows": {name: {"boxes": boxes[name], "all_seconds": seconds[name]} for name in sides},
        "ratio": statistics.median(tool) / statistics.median(alone),
        "all_ratios": [one / other for one, other in zip(tool, alone, strict=True)],
        "settings": {name: value for name, value in vars(args).items() if name != "output"},
        "versions": {name: value for name, value in collect_versions().items() if name != "detectron2_path"},
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as a Markdown table with their ratio below."""
    body = []
    for name, row in figures["rows"].items():
        every = row["all_seconds"]
        body.append([name, row["boxes"], f"{statistics.median(every):.2f}", f"{min(every):.2f} - {max(every):.2f}"])
    ratios = figures["all_ratios"]
    return "\n".join(
        [
            tabulate(body, ["what", "boxes", "seconds", "spread"], tablefmt="github", disable_numparse=True),
            "",
            f"Ratio: {figures['ratio']:.2f} ({min(ratios):.2f} - {max(ratios):.2f}).",
        ]
    )


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
