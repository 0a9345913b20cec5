"""A line for each method over the stages that a detector went through."""

import os
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from ..utils.files import atomic_write
from .charts import chart_word, plain_words

_TICK = 30  # characters beside the axes, which longer words would leave no room


def write_stage_chart(
    path: str | os.PathLike,
    curves: Mapping[str, Sequence[float]],
    stages: Sequence[str],
    ylabel: str,
    threshold: float,
    title: str = "",
) -> None:
    """Writes the chart as PNG, whole or not at all.

    Args:
        path: the file.
        curves: method -> a value for each stage; NaN leaves a gap.
        stages: their names, in their order.
        ylabel: what the values are.
        threshold: drawn as a dashed line.
        title: above the chart.
    """
    with plain_words(*curves, *stages, ylabel, title):
        # A legend of ten methods takes a column of its own.
        figure = Figure(figsize=(5.0 + 0.9 * len(stages), 4.8), layout="constrained")
        axes = figure.subplots()
        for method, values in curves.items():
            axes.plot(range(len(stages)), list(values), marker="o", markersize=3, label=chart_word(method, _TICK))
        axes.axhline(threshold, color="0.4", linestyle="--", linewidth=1, label=f"at most {threshold:g} at the end")
        axes.set_xticks(
            range(len(stages)), [chart_word(one, _TICK) for one in stages], rotation=45, ha="right", fontsize=8
        )
        axes.set_ylabel(chart_word(ylabel, _TICK))
        axes.set_title(chart_word(title), fontsize=10)
        axes.grid(alpha=0.3)
        figure.legend(loc="outside right upper", fontsize=8)
        with atomic_write(path, "wb") as handle:
            figure.savefig(handle, format="png", dpi=120)
