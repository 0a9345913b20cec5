"""Mean maps in box coordinates, a row for each class and a column for each attribute."""

import os
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..utils.files import atomic_write
from .charts import chart_word, plain_words
from .overlay import COLORMAP

_NAME = 24  # characters beside a row


def write_atlas_chart(
    path: str | os.PathLike,
    means: np.ndarray,
    bounds: np.ndarray,
    counts: np.ndarray,
    classes: Sequence[str],
    attributes: Sequence[str],
    span: tuple[float, float],
) -> None:
    """Writes the chart as PNG, whole or not at all.

    Each panel has its own colours, from 0 to its highest value, which stands above it with its interval; places that
    no map reached are grey. The box is outlined.

    Args:
        path: the file.
        means: (C, K, S, S) mean maps, NaN where there is none.
        bounds: (2, C, K, S, S) lower and upper ends of their intervals, NaN where these aren't known.
        counts: (C, K) of how many detections.
        classes: C names; at least one.
        attributes: K names.
        span: first and last coordinate of the maps, the box being [0, 1].
    """
    with plain_words(*classes, *attributes):
        figure = Figure(figsize=(1.2 + 1.7 * len(attributes), 0.5 + 1.85 * len(classes)), layout="constrained")
        panels = figure.subplots(len(classes), len(attributes), squeeze=False)
        colors = matplotlib.colormaps[COLORMAP].with_extremes(bad="0.8")
        for row, name in enumerate(classes):
            for column, attribute in enumerate(attributes):
                axes, mean = panels[row, column], means[row, column]
                top, numbers = 0.0, "n = 0"
                if not np.isnan(mean).all():
                    place = np.unravel_index(np.nanargmax(mean), mean.shape)
                    top, (low, high) = float(mean[place]), (float(one[row, column][place]) for one in bounds)
                    numbers = f"n = {int(counts[row, column])}, {top:.2f}"
                    if not np.isnan(low):
                        numbers += f" [{low:.2f}, {high:.2f}]"
                axes.imshow(
                    mean, extent=(*span, *span[::-1]), cmap=colors, vmin=0.0, vmax=top or 1.0, interpolation="nearest"
                )
                # Light on dark, so that it is seen on every colour.
                axes.add_patch(Rectangle((0, 0), 1, 1, fill=False, edgecolor="black", linewidth=2.5))
                axes.add_patch(Rectangle((0, 0), 1, 1, fill=False, edgecolor="white", linewidth=1))
                axes.set_xticks([])
                axes.set_yticks([])
                axes.set_title(f"{chart_word(attribute)}\n{numbers}" if row == 0 else numbers, fontsize=7)
                if column == 0:
                    axes.set_ylabel(chart_word(name, _NAME), fontsize=8)
        with atomic_write(path, "wb") as handle:
            figure.savefig(handle, format="png", dpi=110)
