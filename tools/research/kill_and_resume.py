#!/usr/bin/env python
"""Kills a command at random moments, resumes it, and compares what it leaves with a run that nobody disturbed.

    tools/research/kill_and_resume.py --command explain --times 20 --output output/kill_explain.json

Each time the command begins in an empty folder and gets SIGKILL at a moment drawn between its first file and its usual
end; one that had ended by then doesn't count. It runs in a process that was forked behind the imports, so that these
don't take most of the time. Then every file there must be whole, but for those that end in .tmp or lie in a folder
called .unfinished. The same command with --resume must end well, leave none of these, keep what was finished as it was,
and give the same bytes, without dates, durations and the command's own spelling. Of a training the weights, the
optimizer's state and the rows of its log must be the same to the last bit. Inputs are the bundled images, on one
thread.
"""

import argparse
import contextlib
import importlib
import io
import json
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from forked import Forked
from PIL import Image
from tqdm import tqdm

from odam_d2.cli.arguments import add_output_json, add_seed, count, script_parser
from odam_d2.env import collect_versions
from odam_d2.store.parts import open_to_read, part_paths, require_whole
from odam_d2.utils.files import write_json

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "datasets" / "demo"
DETECTOR = ("--config-file", "synthetic/faster_rcnn_compact_FPN")
SMALL = ("MODEL.DEVICE", "cpu", "INPUT.MIN_SIZE_TEST", "240")
REGISTERS = f"""
from detectron2.data.datasets import register_coco_instances
register_coco_instances("demo_to_kill", {{}}, {str(DEMO / "annotations.json")!r}, {str(DEMO / "images")!r})
"""
# Differ between any two runs, wherever they stand in a JSON.
CHANGING = ("date", "seconds", "command", "scoring_seconds", "versions", "time", "data_time", "eta_seconds",
            "rank_data_time")  # fmt: skip
# Written for a person, or by a library that has its own names for them.
SKIPPED = re.compile(r"log\.txt.*|events\.out.*|config\.yaml|index\.sqlite|.*-journal")


@dataclass(frozen=True)
class Case:
    """A command and what to look at.

    Attributes:
        module: of the command.
        arguments: for an output folder and a file that registers a data set.
        finished: pattern of the files that stand for something finished; None where the run's store says it.
    """

    module: str
    arguments: Callable[[Path, Path], Sequence[str]]
    finished: str | None = None


CASES = {
    "explain": Case("explain", lambda output, _: [
        *DETECTOR, "--input", str(DEMO / "images"), "--output", str(output), "--annotations",
        str(DEMO / "annotations.json"), "--strips", "1", *SMALL]),
    "evaluate": Case("evaluate", lambda output, _: [
        *DETECTOR, "--annotations", str(DEMO / "annotations.json"), "--images", str(DEMO / "images"), "--methods",
        "odam", "gradcam", "--metrics", "pointing_box", "energy_mask", "stability", "--iou-threshold", "0.5",
        "--output", str(output), *SMALL]),
    "train": Case("train", lambda output, imports: [
        "--config-file", "quick/faster_rcnn_odam_train", "--import", str(imports), "OUTPUT_DIR", str(output),
        "DATASETS.TRAIN", "('demo_to_kill',)", "DATASETS.TEST", "('demo_to_kill',)", "SOLVER.MAX_ITER", "8",
        "SEED", "1", "MODEL.ROI_HEADS.NUM_CLASSES", "3", "INPUT.MIN_SIZE_TRAIN", "(96, 112, 128)",
        "INPUT.MIN_SIZE_TEST", "96", "ODAM.TRAIN.WATCH_PERIOD", "3", "ODAM.TRAIN.WATCH_IMAGES", "1", "MODEL.DEVICE",
        "cpu"], "model_*.pth"),
    "tune": Case("tune_nms", lambda output, imports: [
        *DETECTOR, "--import", str(imports), "--dataset", "demo_to_kill", "--ways", "nms", "odam_nms",
        "--iou-thresholds", "0.5", "--odam-iou-thresholds", "0.5", "--lows", "0.3", "--highs", "0.7", "--output",
        str(output), *SMALL], "candidates/*.npz"),
}  # fmt: skip


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = script_parser(__doc__)
    parser.add_argument("--command", required=True, choices=list(CASES), help="what to kill")
    parser.add_argument("--times", type=count, default=20, metavar="N", help="how often (default: 20)")
    add_seed(parser, "the moments")
    add_output_json(parser)
    return parser


class Runs:
    """Starts a command in a folder of its own.

    Args:
        case: the command.
        folder: for all its runs.
    """

    def __init__(self, case: Case, folder: Path):
        self.case, self.folder = case, folder
        self.main = importlib.import_module(f"odam_d2.cli.{case.module}").main
        self.imports = folder / "register_demo.py"
        self.imports.write_text(REGISTERS)

    def start(self, output: Path, resume: bool = False) -> Forked:
        """A new process."""
        arguments = [*(["--resume"] if resume else []), *self.case.arguments(output, self.imports)]
        return Forked(self.main, arguments, self.folder / f"{output.name}.log")

    def finish(self, output: Path, resume: bool = False) -> None:
        """Runs to the end.

        Raises:
            RuntimeError: if that fails; with the end of what was printed.
        """
        if self.start(output, resume).wait():
            printed = (self.folder / f"{output.name}.log").read_text(errors="replace")
            raise RuntimeError(f"the command must end well; {output.name} ended with:\n{printed[-3000:]}")

    def time_undisturbed(self, output: Path) -> tuple[float, float]:
        """Seconds from the start of a run to its first file, and to its end."""
        start = time.monotonic()
        process = self.start(output)
        process.wait(lambda: has_files(output))
        first = time.monotonic() - start
        if process.wait():
            self.finish(output)
        return first, time.monotonic() - start


def files_of(output: Path) -> dict[str, Path]:
    """What a run leaves, by its path below the output; a report's data lie in a folder of a new name each time."""
    found = sorted(path for path in output.rglob("*") if path.is_file() and not SKIPPED.fullmatch(path.name))
    return {re.sub(r"/data-[0-9a-f]{8}/", "/data/", path.relative_to(output).as_posix()): path for path in found}


def has_files(output: Path) -> bool:
    """Whether a run has begun to write."""
    return any(path.is_file() for path in output.rglob("*"))


def is_unfinished(name: str) -> bool:
    """Whether a file says of itself that it isn't complete."""
    return name.endswith(".tmp") or ".unfinished" in Path(name).parts


def content_of(path: Path) -> Any:
    """What a file holds, without what differs between any two runs.

    Raises:
        Exception: of any kind, if it isn't whole.
    """
    data = path.read_bytes()
    if path.suffix == ".html":
        text = re.sub(r"data-[0-9a-f]{8}", "data", data.decode())
        if not text.rstrip().endswith("</html>"):
            raise ValueError("the page has no end")
        found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
        return _steady(json.loads(found[1])) if found else re.sub(r"odam evaluate [^<]*", "", text)
    if path.suffix == ".json":
        text = data.decode()
        try:
            return _steady(json.loads(text))
        except json.JSONDecodeError:
            return [_steady(json.loads(row)) for row in text.splitlines()]
    if path.suffix == ".npz":
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: (arrays[name].shape, arrays[name].tobytes()) for name in arrays.files}
    if path.suffix in (".jpg", ".png"):
        Image.open(io.BytesIO(data)).load()
    if path.suffix == ".sqlite":
        return rows_of(path)
    if path.suffix == ".pth":
        return _plain(torch.load(path, weights_only=True))
    return data


def rows_of(part: Path) -> dict[str, Any]:
    """All rows of a part of a run, by the keys of images and the names of documents."""
    require_whole(part)
    with contextlib.closing(open_to_read(part)) as source:
        found = {}
        for number, *image in source.execute("SELECT * FROM images"):
            tables = ("annotations", "detections", "maps")
            asked = [f"SELECT * FROM {table} WHERE image = ? ORDER BY 2, 3, 4" for table in tables]
            found[image[0]] = [image, *([row[1:] for row in source.execute(one, (number,))] for one in asked)]
        return {**found, "documents": sorted(source.execute("SELECT * FROM documents"))}


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(one) for key, one in value.items() if key not in CHANGING}
    return [_steady(one) for one in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.reshape(-1).view(torch.uint8).numpy().tobytes()
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def broken_files(output: Path) -> list[str]:
    """Files that aren't whole and don't say so of themselves."""
    broken = []
    for name, path in files_of(output).items():
        try:
            if not is_unfinished(name):
                content_of(path)
        except Exception as error:
            broken.append(f"{name}: {error or type(error).__name__}")
    return broken


def differences(output: Path, reference: Path) -> list[str]:
    """Files that one of two runs lacks, or whose contents differ."""
    mine, theirs = files_of(output), files_of(reference)
    lacking = [f"{name} is there in one run only" for name in sorted(mine.keys() ^ theirs.keys())]
    shared = (name for name in mine if name in theirs)
    return lacking + [f"{name} differs" for name in shared if content_of(mine[name]) != content_of(theirs[name])]


def finished_in(output: Path, case: Case) -> dict[str, Any]:
    """What a run has finished, each with what would differ if it was done again."""
    if case.finished is not None:
        return {str(path.relative_to(output)): path.stat().st_mtime_ns for path in output.glob(case.finished)}
    # The rows of `documents` get new numbers when they are written again.
    found = {}
    for part in part_paths(output):
        with contextlib.closing(open_to_read(part)) as source:
            found.update(source.execute("SELECT collection || ' ' || name, rowid FROM documents").fetchall())
    return found


def kill_once(runs: Runs, output: Path, after: float, reference: Path) -> dict[str, Any]:
    """One run that is killed `after` seconds behind its first file, and resumed.

    Returns:
        ``killed`` (or it had ended before), how many seconds behind its first file it ``lasted``, how much was
        ``finished``, and the files that are ``broken``, ``lost`` and ``different``.
    """
    process = runs.start(output)
    process.wait(lambda: has_files(output))
    end = time.monotonic() + after
    begin = time.monotonic()
    killed = process.wait(lambda: time.monotonic() > end) is None
    lasted = time.monotonic() - begin
    if killed:
        process.kill()
    broken = broken_files(output)
    finished = finished_in(output, runs.case)
    left = sum(is_unfinished(name) for name in files_of(output))
    runs.finish(output, resume=True)
    after_all = finished_in(output, runs.case)
    lost = [name for name, state in finished.items() if after_all.get(name) != state]
    different = differences(output, reference)
    return {
        "after": round(after, 2), "lasted": round(lasted, 2), "killed": killed, "finished": len(finished),
        "unfinished_files": left, "broken": broken, "lost": lost, "different": different,
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit code: 1 if anything was lost or different, or too few were killed."""
    args = argument_parser().parse_args(argv)
    draw = random.Random(args.seed)
    torch.set_num_threads(1)
    tqdm.monitor_interval = 0  # a thread of the parent's would be missing in its children
    with tempfile.TemporaryDirectory(prefix="kill-") as temporary:
        runs = Runs(CASES[args.command], Path(temporary))
        reference = Path(temporary) / "undisturbed"
        first, last = runs.time_undisturbed(reference)
        rows: list[dict[str, Any]] = []
        span = last - first
        with tqdm(total=args.times, desc=f"killing {args.command}", unit="time") as progress:
            while progress.n < args.times and len(rows) < 4 * args.times:
                output = Path(temporary) / f"run{len(rows)}"
                rows.append(kill_once(runs, output, draw.uniform(0.0, span), reference))
                progress.update(rows[-1]["killed"])
                if not rows[-1]["killed"]:  # the machine has less to do than when the run was timed
                    span = min(span, rows[-1]["lasted"])
    faults, killed = ("broken", "lost", "different"), [row for row in rows if row["killed"]]
    figures = {
        "command": args.command,
        "times": args.times,
        "seed": args.seed,
        "seconds_to_first_file": round(first, 1),
        "seconds": round(last, 1),
        "runs_begun": len(rows),
        "killed": len(killed),
        "finished_when_killed": statistics.median(row["finished"] for row in killed) if killed else None,
        **{name: sum(bool(row[name]) for row in rows) for name in faults},
    }
    print(json.dumps(figures, indent=2))
    if args.output:
        write_json(args.output, {**figures, "runs": rows, "versions": collect_versions()})
    return int(len(killed) < args.times or any(row[name] for row in rows for name in faults))


if __name__ == "__main__":
    sys.exit(main())
