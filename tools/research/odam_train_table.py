#!/usr/bin/env python
"""Prints what odam_train_sweep.py measured as tables, and draws the looks along the training as curves.

    tools/research/odam_train_table.py docs/measurements/odam_train/*_1500_*.json --output output/curves.png

The first table has a row for each file: AUC on hard pairs by maps and by maps with IoU, AP, AP50, MR^-2, JI, recall of
the heavily hidden and ODI, at the end. The second has ODI and AUC along the iterations, as training logged them, and by
how much ODI is below that of the variant `stock` of the same detector at the same iteration.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from tabulate import tabulate

from odam_d2.cli.arguments import failure, script_parser
from odam_d2.utils.files import atomic_write
from odam_d2.visualize.charts import chart_word, plain_words

CURVES = {"odam/AUC_maps": "AUC of maps on hard pairs", "odam/ODI_box": "ODI (box)", "odam/ODI_mask": "ODI (mask)"}
STOCK = "stock"
Result = Mapping[str, Any]


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = script_parser(__doc__)
    parser.add_argument("results", nargs="+", metavar="JSON", help="files of odam_train_sweep.py")
    parser.add_argument("--output", metavar="PNG", help="where to draw the curves")
    return parser


def read_results(paths: Sequence[str]) -> list[dict[str, Any]]:
    """The content of each file, with its detector's family in ``family``.

    Raises:
        ValueError: if a file is not one of the sweep's.
    """
    found = []
    for path in paths:
        try:
            one = json.loads(Path(path).read_text(encoding="utf-8"))
            one["family"] = one["config"].split("/")[-1].split("_compact")[0]
            found.append({**one, "curves": {name: _by_iteration(one["curves"].get(name, {})) for name in CURVES}})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"`results` must be files of odam_train_sweep.py; got {path!r} ({error!r}): name its --results"
            ) from error
    return found


def _by_iteration(curve: Mapping[str, float]) -> dict[int, float]:
    return {int(iteration): float(value) for iteration, value in curve.items()}


def end_table(results: Sequence[Result]) -> str:
    """A row for each result, as Markdown."""
    body = []
    for one in results:
        pairs = [one[name] for name in sorted(one) if name.startswith("hard_pairs_repool_")]
        crowd, coco = one["crowd"], one["coco"]
        body.append([
            one["family"], one["variant"], one["iterations"], one["seed"],
            " / ".join(f"{p['auc']['maps']:.3f}" for p in pairs), " / ".join(f"{p['gain']:+.3f}" for p in pairs),
            *(f"{coco[name]:.1f}" for name in ("AP", "AP50")), *(f"{crowd[name]:.1f}" for name in ("MR", "JI")),
            f"{crowd['recall-heavy']:.1f}", f"{one['explanations']['odam/ODI_box']:.3f}",
            f"{one['explanations']['odam/ODI_mask']:.3f}",
        ])  # fmt: skip
    header = ["detector", "variant", "iterations", "seed", "AUC of maps (repooled 0 / 1 / 2)", "gain above IoU", "AP",
              "AP50", "MR^-2", "JI", "recall, heavy", "ODI (box)", "ODI (mask)"]  # fmt: skip
    return tabulate(body, header, tablefmt="github", disable_numparse=True)


def change_from_stock(one: Result, results: Sequence[Result], curve: str) -> dict[int, float]:
    """Iteration -> change of a curve against the stock variant of the same detector and seed, as a share."""
    for other in results:
        if (other["variant"], other["family"], other["seed"]) == (STOCK, one["family"], one["seed"]):
            stock = other["curves"][curve]
            return {at: value / stock[at] - 1.0 for at, value in one["curves"][curve].items() if stock.get(at)}
    return {}


def curve_table(results: Sequence[Result]) -> str:
    """A row for each result and curve, a column for each iteration, as Markdown."""
    iterations = sorted({at for one in results for curve in one["curves"].values() for at in curve})
    body = []
    for one in results:
        for name, words in CURVES.items():
            change = change_from_stock(one, results, name) if "ODI" in name and one["variant"] != STOCK else {}
            cells = []
            for at in iterations:
                value = one["curves"][name].get(at)
                told = f" ({100 * change[at]:+.0f} %)" if at in change else ""
                cells.append("" if value is None else f"{value:.3f}{told}")
            body.append([one["family"], one["variant"], one["seed"], words, *cells])
    header = ["detector", "variant", "seed", "", *map(str, iterations)]
    return tabulate(body, header, tablefmt="github", disable_numparse=True)


def draw(path: str, results: Sequence[Result]) -> None:
    """A panel for each curve and detector as PNG, whole or not at all."""
    families = list(dict.fromkeys(one["family"] for one in results))
    with plain_words(*families, *(one["variant"] for one in results)):
        figure = Figure(figsize=(3.6 * len(CURVES), 2.9 * len(families)), layout="constrained")
        panels = figure.subplots(len(families), len(CURVES), squeeze=False)
        for row, family in zip(panels, families, strict=True):
            for axes, (name, words) in zip(row, CURVES.items(), strict=True):
                for one in (one for one in results if one["family"] == family):
                    label = f"{chart_word(one['variant'])}, seed {one['seed']}"
                    axes.plot(*zip(*sorted(one["curves"][name].items())), "o-", markersize=3, label=label)
                axes.set(title=f"{chart_word(family)}: {words}", xlabel="iterations")
                axes.grid(alpha=0.3)
            row[0].legend(fontsize=8)
        with atomic_write(path, "wb") as handle:
            figure.savefig(handle, format="png", dpi=110)


def main(argv: list[str] | None = None) -> int:
    """Runs the tool; returns its exit code."""
    args = argument_parser().parse_args(argv)
    try:
        results = read_results(args.results)
        print(end_table(results), curve_table(results), sep="\n\n")
        if args.output:
            draw(args.output, results)
    except (ValueError, OSError) as error:
        return failure(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
