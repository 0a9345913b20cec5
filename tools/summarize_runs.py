#!/usr/bin/env python
"""Prints finished runs of tools/evaluate.py as Markdown: a table of means, and one method against others.

    tools/summarize_runs.py output/measured/faster_rcnn output/measured/fcos
    tools/summarize_runs.py output/measured/* --method odam --rivals gradcam gradcam++ drise --output results.md

Means come with 95 % intervals and the number of objects that have a value; the best of each column is bold. Differences
are taken object by object: "better" and "worse" are said where their interval leaves zero out.
"""

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from odam_d2.evaluation import METRICS, paired_differences
from odam_d2.utils.files import write_text

_ARROWS = {True: "+", False: "-", None: ""}


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("runs", nargs="+", metavar="DIR", help="--output of tools/evaluate.py")
    add("--method", default="odam", help="the method to compare with others (default: odam)")
    add("--rivals", nargs="*", metavar="NAME", help="the others; those that a run lacks are left out (default: all)")
    add("--output", metavar="MARKDOWN", help="write to this file instead")
    return parser


def table_of_means(measured: dict[str, Any]) -> str:
    """A row for each method, a column for each metric.

    Args:
        measured: content of ``metrics.json``.
    """
    metrics = {name: row for name, row in measured["metrics"].items() if row["methods"]}
    best = {}
    for name, row in metrics.items():
        up = METRICS[name].higher_is_better
        means = [one["mean"] for one in row["methods"].values()]
        best[name] = None if up is None else max(means) if up else min(means)
    heads = [f"{name} {_ARROWS[row['higher_is_better']]} (n {row['objects']})" for name, row in metrics.items()]
    body = [
        [method, *(_cell(row["methods"][method], best[name]) for name, row in metrics.items())]
        for method in measured["run"]["methods"]
    ]
    return tabulate(body, ["method", *heads], tablefmt="github", disable_numparse=True)


def _cell(one: dict[str, Any], best: float | None) -> str:
    """A mean and its interval; HiResCAM's score maps are ODAM's, so the best can be two."""
    mean, (low, high) = one["mean"], one["interval"]
    text = f"{mean:.3f}"
    return f"{f'**{text}**' if mean == best else text} [{low:.2f}, {high:.2f}]"


def table_of_differences(rows: Sequence[dict], metrics: Sequence[str], method: str, rivals: Sequence[str]) -> str:
    """A row for each rival, a column for each metric: how far ahead `method` is, and whether that is beyond chance."""
    directed = [name for name in metrics if METRICS[name].higher_is_better is not None]
    body = []
    for rival in rivals:
        found = paired_differences(rows, directed, method, rival)
        texts = (
            f"{one.mean:+.3f} [{one.interval[0]:+.2f}, {one.interval[1]:+.2f}] {one.verdict}" if one.objects else "none"
            for one in found
        )
        body.append([f"{method} - {rival}", *texts])
    heads = [f"{name} {_ARROWS[METRICS[name].higher_is_better]}" for name in directed]
    return tabulate(body, ["", *heads], tablefmt="github", disable_numparse=True)


def summary_of_run(folder: Path, method: str, rivals: Sequence[str] | None) -> str:
    """The section of one run.

    Raises:
        ValueError: if the run isn't finished.
    """
    if not (folder / "metrics.json").is_file():
        raise ValueError(f"`runs` must be finished; got {folder} without metrics.json: run tools/evaluate.py --resume")
    measured = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    with (folder / "per_object.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    about, counts = measured["run"], measured["counts"]
    others = [name for name in rivals or about["methods"] if name in about["methods"] and name != method]
    with_values = [name for name, row in measured["metrics"].items() if row["methods"]]
    parts = [
        f"### {folder.name}",
        f"    {about['command']}",
        f"Seed {about['seed']}; {counts['pictures']} pictures, {counts['objects']} objects, of which "
        f"{counts['matched']} matched at IoU > {about['iou_threshold']:g} a detection of score >= "
        f"{about['score_threshold']:g}.",
        table_of_means(measured),
    ]
    if method in about["methods"] and others:
        parts.append(table_of_differences(rows, with_values, method, others))
    return "\n\n".join(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns its exit code."""
    args = argument_parser().parse_args(argv)
    try:
        text = "\n\n".join(summary_of_run(Path(run), args.method, args.rivals) for run in args.runs)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if args.output:
        write_text(args.output, text + "\n")
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
