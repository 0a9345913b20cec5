"""Whose detections look at whom: a table of colours, a row for each class of detections."""

import os
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ..utils.files import atomic_write
from .charts import chart_word, plain_words

_NAME = 24  # characters beside rows and above columns
_NUMBERED = 16  # classes, above which cells have no room for numbers


def write_context_chart(
    path: str | os.PathLike,
    share: np.ndarray,
    counts: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    classes: Sequence[str],
    beside: Sequence[str],
) -> None:
    """Writes the chart as PNG, whole or not at all.

    On the left the shares of heat on other objects of each class, on the right the last columns with colours of their
    own. Up to 16 classes cells hold the share in percent, its interval, and of how many detections it is the mean.

    Args:
        path: the file.
        share: (C, C + E) mean shares in [0, 1], NaN where there are none.
        counts: (C, C + E) of how many detections.
        low: (C, C + E) lower bounds.
        high: (C, C + E) upper bounds.
        classes: C names; at least one.
        beside: names of the E last columns.
    """
    count = len(classes)
    side = 0.8 if count <= _NUMBERED else 0.22
    with plain_words(*classes, *beside):
        size = (3.4 + side * (count + len(beside)), 1.6 + side * max(count, 2))
        figure = Figure(figsize=size, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[count, len(beside)], sharey=True)
        parts = ((left, slice(0, count), classes), (right, slice(count, None), beside))
        for axes, columns, names in parts:
            values = share[:, columns]
            top = (float(np.nanmax(values)) if not np.isnan(values).all() else 0.0) or 1.0
            colors = matplotlib.colormaps["viridis"].with_extremes(bad="0.85")
            shown = axes.imshow(values, cmap=colors, vmin=0.0, vmax=top, aspect="auto")
            ticks = [chart_word(name, _NAME) for name in names]
            axes.set_xticks(range(len(names)), ticks, rotation=60, ha="right", fontsize=7)
            axes.set_yticks(range(count), [chart_word(name, _NAME) for name in classes], fontsize=7)
            wide = side * len(names)
            figure.colorbar(shown, ax=axes, fraction=0.5 / (wide + 0.5), aspect=30).ax.tick_params(labelsize=6)
            if count <= _NUMBERED:
                _write_numbers(axes, values, counts[:, columns], low[:, columns], high[:, columns], top)
        left.set_title("heat on other objects of class", fontsize=8)
        left.set_ylabel("detections of class", fontsize=8)
        with atomic_write(path, "wb") as handle:
            figure.savefig(handle, format="png", dpi=120)


def _write_numbers(axes, share: np.ndarray, counts: np.ndarray, low: np.ndarray, high: np.ndarray, top: float) -> None:
    for row, column in np.argwhere(~np.isnan(share)).tolist():
        value, ends = 100 * share[row, column], (100 * low[row, column], 100 * high[row, column])
        words = f"{value:.1f} %\n{ends[0]:.1f} .. {ends[1]:.1f}\nn = {int(counts[row, column])}"
        ink = "black" if share[row, column] > 0.6 * top else "white"
        axes.text(column, row, words, ha="center", va="center", fontsize=5.5, color=ink)
