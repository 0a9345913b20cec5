#!/usr/bin/env python
"""Measures whether a long run keeps what it has finished in memory.

    tools/research/memory_of_long_runs.py --command explain --images 300 --output output/memory_explain.json

One process works on copies of the bundled images. Its resident memory is read twenty times a second: the median while
it is at the images behind the first 30 is compared with the median at the last of them, and with the highest value
behind them, when tables and pages are written. `predictor` is a loop over OdamPredictor.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from forked import Forked
from tqdm import tqdm

from odam_d2 import OdamPredictor, model_zoo
from odam_d2.cli import evaluate, explain
from odam_d2.cli.arguments import add_output_json, count, script_parser
from odam_d2.env import collect_versions
from odam_d2.utils.files import write_json

DEMO = Path(__file__).resolve().parents[2] / "datasets" / "demo"
NAME = "synthetic/faster_rcnn_compact_FPN"
SMALL = ("MODEL.DEVICE", "cpu", "INPUT.MIN_SIZE_TEST", "240")
SPAN = 12  # images that a median is taken over


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = script_parser(__doc__)
    parser.add_argument("--command", required=True, choices=list(RUNS), help="what runs")
    parser.add_argument("--images", type=count, default=300, metavar="N", help="how many (default: 300)")
    parser.add_argument("--early", type=count, default=30, metavar="N", help="compared with these (default: 30)")
    add_output_json(parser)
    return parser


def copy_images(folder: Path, number: int) -> None:
    """Writes ``images/`` and ``annotations.json``: the bundled images again and again, under names of their own."""
    content = json.loads((DEMO / "annotations.json").read_text(encoding="utf-8"))
    (folder / "images").mkdir()
    images, annotations = [], []
    for k in range(number):
        image = content["images"][k % len(content["images"])]
        name = f"{k:05d}.jpg"
        shutil.copy(DEMO / "images" / image["file_name"], folder / "images" / name)
        images.append({**image, "id": k + 1, "file_name": name})
        objects = (one for one in content["annotations"] if one["image_id"] == image["id"])
        annotations += [{**one, "id": len(annotations) + j, "image_id": k + 1} for j, one in enumerate(objects, 1)]
    write_json(folder / "annotations.json", {**content, "images": images, "annotations": annotations})


def run_explain(folder: Path) -> int:
    """Explains all of them."""
    return explain.main([
        "--config-file", NAME, "--input", str(folder / "images"), "--annotations", str(folder / "annotations.json"),
        "--strips", "1", "--output", str(folder / "output"), *SMALL,
    ])  # fmt: skip


def run_evaluate(folder: Path) -> int:
    """Measures two methods on all of them."""
    return evaluate.main([
        "--config-file", NAME, "--annotations", str(folder / "annotations.json"), "--images", str(folder / "images"),
        "--iou-threshold", "0.5", "--methods", "odam", "gradcam", "--metrics", "pointing_box", "energy_mask",
        "--output", str(folder / "output"), *SMALL,
    ])  # fmt: skip


def run_predictor(folder: Path) -> int:
    """Shows a predictor all of them, and forgets what it says."""
    cfg = model_zoo.get_config(NAME)
    cfg.merge_from_list([*SMALL, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.5"])
    predictor = OdamPredictor(cfg)
    done = folder / "output"
    done.mkdir()
    for path in sorted((folder / "images").iterdir()):
        predictor(path)["instances"].heatmaps.to_image("combined")
        (done / path.name).touch()
    return 0


# What runs, and where it leaves a file for each image that is finished.
RUNS: dict[str, tuple[Callable[[Path], int], str]] = {
    "explain": (run_explain, "output/resume/images"),
    "evaluate": (run_evaluate, "output/images"),
    "predictor": (run_predictor, "output"),
}


def resident(pid: int) -> float:
    """Resident memory of a process in MB; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError):
        return 0.0


def watch(command: str, folder: Path, number: int) -> list[tuple[int, float]]:
    """Runs a command, and returns how many images were finished and its memory in MB, again and again.

    Raises:
        RuntimeError: if it fails; with the end of what was printed.
    """
    run, finished = RUNS[command]
    log = folder / "log.txt"
    process = Forked(lambda _: run(folder), [], log)
    samples: list[tuple[int, float]] = []
    with tqdm(total=number, desc=f"running {command}", unit="image") as progress:
        while process.poll() is None:
            there = folder / finished
            done = sum(not name.startswith(".") for name in os.listdir(there)) if there.is_dir() else 0
            if memory := resident(process.pid):
                samples.append((done, memory))
            progress.update(done - progress.n)
            time.sleep(0.05)
    if process.code:
        raise RuntimeError(f"the command must end well; it printed:\n{log.read_text(errors='replace')[-3000:]}")
    return samples


def summarise(samples: Sequence[tuple[int, float]], number: int, early: int) -> dict[str, float]:
    """Memory in MB early, at the last images and highest behind them, and how far these are above the first."""

    def at(first: int) -> float:
        return statistics.median(memory for done, memory in samples if first <= done < first + SPAN)

    before, late = at(early), at(number - SPAN)
    end = max((memory for done, memory in samples if done >= number), default=late)
    figures = {"early_mb": before, "late_mb": late, "highest_at_the_end_mb": end}
    shares = {"late_percent": 100 * (late / before - 1), "end_percent": 100 * (end / before - 1)}
    return {name: round(value, 1) for name, value in {**figures, **shares}.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit code."""
    parser = argument_parser()
    args = parser.parse_args(argv)
    if args.images < args.early + 2 * SPAN:
        parser.error(f"--images must be at least {args.early + 2 * SPAN}, with this --early; got {args.images}")
    torch.set_num_threads(1)
    tqdm.monitor_interval = 0  # a thread of the parent's would be missing in its child
    with tempfile.TemporaryDirectory(prefix="memory-") as temporary:
        copy_images(Path(temporary), args.images)
        samples = watch(args.command, Path(temporary), args.images)
    figures: dict[str, Any] = {"command": args.command, "images": args.images, "early": args.early}
    figures |= summarise(samples, args.images, args.early)
    print(json.dumps(figures, indent=2))
    if args.output:
        write_json(args.output, {**figures, "versions": collect_versions()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
