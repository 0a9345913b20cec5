"""What a search for thresholds found, in words and as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from ...utils.words import markdown_text
from .hard_pairs import JUDGES
from .suppression import SUPPRESSIONS
from .tuning import BEST_POSSIBLE


def table(rows: Sequence[dict], best: Mapping[str, Mapping[str, Any]], metrics: Sequence[str]) -> str:
    """Published and chosen rows, the best of each way, and what was possible, as Markdown.

    Args:
        rows: of every setting, as :func:`.tuning.score_settings` gives them.
        best: the best row of each way.
        metrics: names of the figures to show.
    """
    body = []
    for row in rows:
        is_best = best.get(row["way"]) is row
        if row["origin"] != "grid" or is_best:
            words = ", ".join(f"{name} {value:g}" for name, value in row["thresholds"].items())
            origin = "best of the grid" if row["origin"] == "grid" else row["origin"]
            figures = [f"{row['figures'][name]:.2f}" if name in row["figures"] else "-" for name in metrics]
            body.append([row["way"], words, origin, *figures])
    ways = [*SUPPRESSIONS, BEST_POSSIBLE]
    body.sort(key=lambda line: ways.index(line[0]))
    return tabulate(
        body, ["way", "thresholds", "origin", *map(markdown_text, metrics)], tablefmt="github", disable_numparse=True
    )


def likeness_in_words(likeness: Mapping[str, Mapping[str, Any]]) -> str:
    """How similar maps are, as a sentence."""
    words = {"same": "of one object", "other": "of overlapping neighbours"}
    said = [
        f"{words[kind]} {one['mean']:.2f} (10 %: {one['q10']:.2f}, 90 %: {one['q90']:.2f}; {one['pairs']} pairs)"
        for kind, one in likeness.items()
        if one["pairs"]
    ]
    return f"Similarity of maps: {', '.join(said)}." if said else "No two candidates lie on objects."


def hard_pairs_in_words(found: Mapping[str, Any]) -> str:
    """The AUC of :func:`.hard_pairs.summarize_hard_pairs`, as a sentence."""
    pairs = f"Hard pairs: {found['same']} on one object, {found['other']} on two"
    if "auc" not in found:
        return f"{pairs}."
    words = {"maps": "by maps", "iou": "by IoU", "both": "by both"}
    spread = {k: f" [{low:.3f}, {high:.3f}]" for k, (low, high) in found.get("interval", {}).items()}
    told = [f"{words[judge]} {found['auc'][judge]:.3f}{spread.get(judge, '')}" for judge in JUDGES]
    return f"{pairs}; AUC {', '.join(told)}."
