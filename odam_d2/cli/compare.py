"""Puts runs of odam explain side by side on one page: how several detectors, or methods, explain the same objects.

    odam compare --runs output/faster_rcnn output/fcos --annotations annotations.json --output output/index.html

Exit code: 0; 1 if a run, or an image, can't be read; 2 if an argument is wrong.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from tqdm import tqdm

from ..data.coco import CocoFile
from ..data.images import read_image_bgr
from ..evaluation.runs.stored_rows import stored_instances
from ..store import RunReader
from ..utils.words import file_address, printable
from ..visualize.comparison import Findings, comparison_entry, write_comparison
from ..visualize.ground_truth import annotations_of
from .annotated import add_strict, tell
from .arguments import command_parser, failure
from .report_files import report_page


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = command_parser("compare", __doc__)
    add = parser.add_argument
    add("--runs", nargs="+", required=True, metavar="DIR", help="output folders of odam explain")
    add("--names", nargs="+", metavar="NAME", help="what to call them (default: the folders' names)")
    add("--annotations", required=True, metavar="JSON", help="COCO file; each annotated object has a row of the page")
    add_strict(parser)
    add("--attributes", nargs="+", default=["combined", "score"], metavar="NAME",
        help="maps to show, of those that all runs have (default: combined score)")  # fmt: skip
    add("--output", required=True, metavar="HTML", help="the page to write")
    return parser


class Run:
    """An output folder of ``odam explain``.

    Args:
        folder: holds ``run.json``.
        name: what to call the run.
        page: path of the comparison; links are relative to it.

    Raises:
        ValueError: if the folder holds no finished run.
    """

    def __init__(self, folder: str, name: str | None, page: Path):
        self.folder = Path(folder)
        self.name = name or self.folder.resolve().name
        try:
            self.content: dict[str, Any] = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
            self.method = str(self.content["method"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"`--runs` must name output folders of odam explain; got {folder!r}, where run.json can't be read: "
                f"{error}"
            ) from error
        self.reader = RunReader(self.folder)
        self.images = {_place(one.path): one.number for one in self.reader.images() if one.failure is None}
        # A link's address, in which no character of a folder's name means anything.
        self.report = file_address(os.path.relpath(report_page(self.folder), page.parent))

    def describe(self) -> dict[str, str]:
        """What the page shows about the run."""
        detail = f"{self.content['architecture']}, {self.method}, {self.reader.count()} boxes explained"
        return {"name": self.name, "detail": detail, "link": self.report}

    def findings(self, path: Path, attribute: str) -> Findings | None:
        """What the run found in an image; None if it did not explain that image."""
        number = self.images.get(path)
        if number is None:
            return None
        stored, names = self.reader.image(number), self.reader.class_names
        place = f"#image={number}&det={{}}&attr={quote(attribute)}"
        return Findings(stored_instances(stored, self.method, names), names, self.report + place)

    def attributes(self) -> tuple[str, ...] | None:
        """Which maps the run has; None if it found nothing at all."""
        for number in self.images.values():
            if found := self.reader.heatmaps(number, self.method):
                return found[1].names
        return None


def _place(file: str) -> Path:
    """The path of an image, the same however its folder was reached; a link keeps its own name."""
    path = Path(file)
    return path.parent.resolve() / path.name


def drawable(runs: Sequence[Run], attributes: Sequence[str]) -> list[str]:
    """Returns `attributes` if every run has maps of them.

    Raises:
        ValueError: if a run lacks one.
    """
    for run in runs:
        names = run.attributes()
        missing = [name for name in attributes if names is not None and name not in names]
        if missing:
            raise ValueError(
                f"`--attributes` must be among what all runs explain; got {missing}, and {run.name!r} has "
                f"{list(names or ())}: choose from these, or run odam explain with --attributes"
            )
    return list(attributes)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code; a wrong argument raises SystemExit(2) as argparse does."""
    parser = argument_parser()
    args = parser.parse_args(argv)
    if args.names and len(args.names) != len(args.runs):
        parser.error(f"--names must name each of the {len(args.runs)} runs; got {len(args.names)}")
    output = Path(args.output)
    try:
        names = args.names or [None] * len(args.runs)
        runs = [Run(folder, name, output.resolve()) for folder, name in zip(args.runs, names, strict=True)]
        annotations = CocoFile(args.annotations)
        paths = list(dict.fromkeys(path for run in runs for path in run.images))
        annotations.match(paths)
        tell(annotations.account, args.strict)
        attributes = drawable(runs, args.attributes)
        entries, failed = [], 0
        for path in tqdm(paths, desc="comparing", unit="image"):
            try:
                image = read_image_bgr(path)
            except ValueError as error:
                failed += 1
                tqdm.write(f"failed: {printable(path)}: {printable(str(error))}", file=sys.stderr)
                continue
            height, width = image.shape[:2]
            record = annotations.use(path, height, width, args.strict)
            if record is not None:
                objects = annotations_of(record, annotations.class_names)
                findings = [run.findings(path, attributes[0]) for run in runs]
                rgb = np.ascontiguousarray(image[:, :, ::-1])
                entries.append(comparison_entry(path.name, rgb, objects, findings, attributes))
        if not entries:
            raise ValueError("the annotations must know one of the runs' images; got none: name the file they are of")
        described, account = [run.describe() for run in runs], annotations.account.as_page()
        write_comparison(output, entries, described, attributes, account=account)
    except (ValueError, OSError) as error:
        return failure(error)
    print(f"Comparison: {printable(output.resolve())}")
    return 1 if failed else 0
