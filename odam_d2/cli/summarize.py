"""Prints finished runs of odam evaluate as Markdown: a table of means, and one method against others.

    odam summarize output/measured/faster_rcnn output/measured/fcos
    odam summarize output/measured/* --method odam --rivals gradcam gradcam++ drise --output results.md
    odam summarize output/measured/* --keep docs/measurements --output results.md
    odam summarize docs/measurements/*.json

Means come with 95 % intervals and the number of objects that have a value; the best of each column is bold. Differences
are taken object by object: a method is "better" or "worse" where their interval leaves zero out, else "open". The
results of sanity checks stand below. Many metrics are split over several tables. Several runs begin with a table that
counts in how many of them the method is better, open and worse. --keep writes the printed figures of each run,
unrounded, and its curves to a small file, which this command can read in the place of the run.
"""

import argparse
import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ..evaluation import METRICS, paired_differences
from ..evaluation.runs.paired import PairedDifference
from ..evaluation.runs.summary import format_counts
from ..utils.files import distinct_names, write_text
from ..utils.words import markdown_text, printable
from .arguments import command_parser, failure

_ARROWS = {True: "+", False: "-", None: ""}
_VERSIONS = ("odam_d2", "torch", "detectron2")
# More columns don't fit on a page; further metrics go into another table.
_COLUMNS = 8


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = command_parser("summarize", __doc__)
    add = parser.add_argument
    add("runs", nargs="+", metavar="DIR", help="--output of odam evaluate, or a file that --keep wrote")
    add("--method", default="odam", help="the method to compare with others (default: odam)")
    add("--rivals", nargs="*", metavar="NAME", help="the others; those that a run lacks are left out (default: all)")
    add("--output", metavar="MARKDOWN", help="write to this file instead")
    add(
        "--keep", metavar="DIR", help="also write a small file of each run to this folder, with differences of --method"
    )
    return parser


def table_of_means(measured: dict[str, Any], names: Sequence[str]) -> str:
    """A row for each method, a column for each metric.

    Args:
        measured: content of ``metrics.json``.
        names: of metrics with values.
    """
    metrics = {name: measured["metrics"][name] for name in names}
    best = {}
    for name, row in metrics.items():
        up = METRICS[name].higher_is_better
        means = [one["mean"] for one in row["methods"].values()]
        best[name] = None if up is None else max(means) if up else min(means)
    heads = [
        f"{markdown_text(name)} {_ARROWS[row['higher_is_better']]} (n {row['objects']})"
        for name, row in metrics.items()
    ]
    body = [
        [markdown_text(method), *(_cell(row["methods"][method], best[name]) for name, row in metrics.items())]
        for method in measured["run"]["methods"]
    ]
    return tabulate(body, ["method", *heads], tablefmt="github", disable_numparse=True)


def _cell(one: dict[str, Any], best: float | None) -> str:
    """A mean and its interval. Two methods can be best: HiResCAM's score maps equal ODAM's."""
    mean, (low, high) = one["mean"], one["interval"]
    text = f"{mean:.3f}"
    return f"{f'**{text}**' if mean == best else text} [{low:.3f}, {high:.3f}]"


def table_of_differences(run: "Run", metrics: Sequence[str], method: str, rivals: Sequence[str]) -> str:
    """A row for each rival, a column for each metric: how far ahead `method` is, with interval and verdict."""
    directed = [name for name in metrics if METRICS[name].higher_is_better is not None]
    body = []
    for rival in rivals:
        found = run.differences(directed, method, rival)
        texts = (
            f"{one.mean:+.3f} [{one.interval[0]:+.3f}, {one.interval[1]:+.3f}] {one.verdict}" if one.objects else "none"
            for one in found
        )
        body.append([markdown_text(f"{method} - {rival}"), *texts])
    heads = [f"{markdown_text(name)} {_ARROWS[METRICS[name].higher_is_better]}" for name in directed]
    return tabulate(body, ["", *heads], tablefmt="github", disable_numparse=True)


@dataclass(frozen=True)
class Run:
    """The results of a finished run.

    Attributes:
        name: of its folder.
        measured: content of ``metrics.json``; of a kept run also ``differences``, by method and rival.
        rows: of ``per_object.csv``; None of a kept run.
        sanity: content of ``sanity.json``; None where nothing was checked.
    """

    name: str
    measured: dict[str, Any]
    rows: list[dict[str, str]] | None
    sanity: dict[str, Any] | None

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """Reads a run from its folder, or from a file that ``--keep`` wrote.

        Raises:
            ValueError: if it isn't finished.
        """
        if folder.is_file():
            kept = json.loads(folder.read_text(encoding="utf-8"))
            return cls(folder.stem, kept, None, kept["sanity"])
        if not (folder / "metrics.json").is_file():
            raise ValueError(f"`runs` must be finished; got {folder} without metrics.json: run odam evaluate --resume")
        with (folder / "per_object.csv").open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
        measured, sanity = (folder / name for name in ("metrics.json", "sanity.json"))
        checked = json.loads(sanity.read_text(encoding="utf-8")) if sanity.is_file() else None
        return cls(folder.resolve().name, json.loads(measured.read_text(encoding="utf-8")), rows, checked)

    @property
    def precision(self) -> str:
        """In which precision changed images were scored; empty if none were."""
        about = self.measured["run"]
        # Deletion and insertion use the run's precision, a method with masks that of its own option.
        mixed = {bool(options["amp"]) for options in about["methods"].values() if "amp" in options}
        if any(METRICS[name].needs_detector for name in self.metrics):
            mixed.add(bool(about.get("amp")))
        if not mixed:
            return ""
        asked = " and ".join(
            "in mixed precision" if amp else "in the precision of its weights" for amp in sorted(mixed)
        )
        return f"; changed images were scored {asked}"

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that have values."""
        return [name for name, row in self.measured["metrics"].items() if row["methods"]]

    def rivals(self, method: str, wanted: Sequence[str] | None) -> list[str]:
        """The wanted methods that the run has, without `method`; none if the run lacks `method`."""
        has = list(self.measured["run"]["methods"])
        return [name for name in wanted or has if name in has and name != method] if method in has else []

    def differences(self, metrics: Sequence[str], method: str, rival: str) -> list[PairedDifference]:
        """Differences of `method` from `rival`, for metrics with a direction.

        Raises:
            ValueError: if the run was kept with another method's differences.
        """
        if self.rows is not None:
            return paired_differences(self.rows, metrics, method, rival)
        kept = self.measured["differences"]
        if method not in kept:
            raise ValueError(
                f"`method` must be {' or '.join(map(repr, kept))} for {self.name}, a kept file; got "
                f"{method!r}: summarise the run itself"
            )
        found = ((name, kept[method][rival].get(name)) for name in metrics)
        return [
            PairedDifference(name, one["mean"], tuple(one["interval"]), one["objects"]) for name, one in found if one
        ]

    def kept(self, method: str) -> str:
        """JSON for :meth:`read`, without the values of single objects and the folder of Detectron2."""
        differences = {
            rival: {
                one.metric: {"mean": one.mean, "interval": one.interval, "objects": one.objects}
                for one in self.differences(self.metrics, method, rival)
            }
            for rival in self.rivals(method, None)
        }
        about = dict(self.measured["run"])
        about["versions"] = {k: v for k, v in about["versions"].items() if k != "detectron2_path"}
        content = {**self.measured, "run": about, "differences": {method: differences}, "sanity": self.sanity}
        return json.dumps(content, separators=(",", ":")) + "\n"


def table_over_runs(runs: Sequence[Run], method: str, rivals: Sequence[str] | None) -> str:
    """A row for each metric, a column for each rival: in how many runs `method` is better, open and worse."""
    found: dict[str, dict[str, dict[str, list[str]]]] = {}
    for run in runs:
        for rival in run.rivals(method, rivals):
            for one in run.differences(run.metrics, method, rival):
                if one.objects:
                    verdicts = found.setdefault(one.metric, {}).setdefault(rival, {})
                    verdicts.setdefault(one.verdict, []).append(run.name)
    columns = list(dict.fromkeys(rival for row in found.values() for rival in row))
    body = [
        [
            f"{markdown_text(metric)} {_ARROWS[METRICS[metric].higher_is_better]}",
            *(_counted(row.get(rival, {})) for rival in columns),
        ]
        for metric, row in found.items()
    ]
    return tabulate(
        body, [markdown_text(one) for one in (f"{method} against", *columns)], tablefmt="github", disable_numparse=True
    )


def _counted(verdicts: dict[str, list[str]]) -> str:
    """Counts ``better / open / worse``, with the names of the runs that are worse."""
    if not verdicts:
        return ""
    counts = " / ".join(str(len(verdicts.get(word, ()))) for word in ("better", "open", "worse"))
    return f"{counts} ({', '.join(map(markdown_text, verdicts['worse']))})" if "worse" in verdicts else counts


def summary_of_run(run: Run, method: str, rivals: Sequence[str] | None) -> str:
    """The section of one run."""
    about, counts = run.measured["run"], run.measured["counts"]
    others, metrics = run.rivals(method, rivals), run.metrics
    versions = ", ".join(f"{name} {about['versions'][name]}" for name in _VERSIONS)
    parts = [
        f"### {markdown_text(run.name)}",
        f"    {printable(about['command'])}",
        f"Seed {about['seed']}, maps of `{about['attribute']}`, {about['device']}, {versions}{run.precision}. "
        f"Matched: IoU > {about['iou_threshold']:g}, score >= {about['score_threshold']:g}. "
        + " ".join(format_counts(counts).splitlines()),
    ]
    for names in (metrics[k : k + _COLUMNS] for k in range(0, len(metrics), _COLUMNS)):
        parts.append(table_of_means(run.measured, names))
        if others:
            parts.append(table_of_differences(run, names, method, others))
    if run.sanity:
        parts.append("\n".join(f"- {text}" for texts in run.sanity["verdicts"].values() for text in texts))
    return "\n\n".join(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code; a wrong argument raises SystemExit(2) as argparse does."""
    args = argument_parser().parse_args(argv)
    try:
        runs = [Run.read(Path(folder)) for folder in args.runs]
        over_all = [table_over_runs(runs, args.method, args.rivals)] if len(runs) > 1 else []
        text = "\n\n".join([*over_all, *(summary_of_run(run, args.method, args.rivals) for run in runs)])
        for run, name in zip(runs, distinct_names(run.name for run in runs), strict=True) if args.keep else ():
            write_text(Path(args.keep) / f"{name}.json", run.kept(args.method))
        if args.output:
            write_text(args.output, text + "\n")
        else:
            print(text)
    except (ValueError, OSError) as error:
        return failure(error)
    return 0
