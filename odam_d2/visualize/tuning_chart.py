"""What thresholds do to a detector's figures, as an image."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from ..utils.files import atomic_write
from .charts import chart_word, plain_words


def write_tuning_chart(
    path: str | os.PathLike, rows: Sequence[Mapping[str, Any]], metrics: Sequence[str], less_is_better: Sequence[str]
) -> None:
    """Writes a row of panels for each metric as PNG, whole or not at all.

    On the left each way over its IoU threshold, at its best other thresholds; a dashed line for a way without one. On
    the right Odam-NMS at its best IoU threshold over low and high.

    Args:
        path: the file.
        rows: of every setting ``way``, ``thresholds`` and ``figures``; at least one.
        metrics: names of figures.
        less_is_better: those of them that are.
    """
    with plain_words(*metrics, *(row["way"] for row in rows)):
        figure = Figure(figsize=(10.0, 3.4 * len(metrics)), layout="constrained")
        panels = figure.subplots(len(metrics), 2, squeeze=False)
        for (left, right), metric in zip(panels, metrics, strict=True):
            best = min if metric in less_is_better else max
            scored = [row for row in rows if metric in row["figures"]]
            for number, way in enumerate(dict.fromkeys(row["way"] for row in scored)):
                mine = [row for row in scored if row["way"] == way]
                curve: dict[float | None, float] = {}
                for row in mine:
                    place, value = row["thresholds"].get("iou_threshold"), row["figures"][metric]
                    curve[place] = best(curve[place], value) if place in curve else value
                if None in curve:
                    left.axhline(curve[None], color=f"C{number}", linestyle="--", label=chart_word(way))
                else:
                    places = sorted(place for place in curve if place is not None)
                    left.plot(places, [curve[k] for k in places], f"C{number}o-", markersize=3, label=chart_word(way))
            arrow = "lower is better" if metric in less_is_better else "higher is better"
            word = chart_word(metric)
            left.set(title=f"{word} ({arrow})", xlabel="IoU threshold", ylabel=word)
            left.grid(alpha=0.3)
            if scored:
                left.legend(fontsize=8)
            _draw_low_and_high(figure, right, [row for row in scored if "low" in row["thresholds"]], metric, best)
        with atomic_write(path, "wb") as handle:
            figure.savefig(handle, format="png", dpi=120)


def _draw_low_and_high(figure: Figure, axes, rows: Sequence[Mapping[str, Any]], metric: str, best) -> None:
    if not rows:
        axes.set_axis_off()
        return
    top = best(rows, key=lambda row: row["figures"][metric])["thresholds"]["iou_threshold"]
    chosen = [row for row in rows if row["thresholds"]["iou_threshold"] == top]
    lows, highs = (sorted({row["thresholds"][name] for row in chosen}) for name in ("low", "high"))
    table = [[float("nan")] * len(highs) for _ in lows]
    for row in chosen:
        low, high = (row["thresholds"][name] for name in ("low", "high"))
        table[lows.index(low)][highs.index(high)] = row["figures"][metric]
    shown = axes.imshow(table, origin="lower", aspect="auto", cmap="viridis" if best is max else "viridis_r")
    axes.set_xticks(range(len(highs)), [f"{value:g}" for value in highs])
    axes.set_yticks(range(len(lows)), [f"{value:g}" for value in lows])
    axes.set(title=f"odam_nms, IoU threshold {top:g}", xlabel="high", ylabel="low")
    figure.colorbar(shown, ax=axes, label=chart_word(metric))
