"""Measurements of explanations as images: curves, and a page with the worst and best objects of each metric."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from ..utils.files import atomic_write, safe_name, write_text
from .charts import chart_word, plain_words
from .pages import render_page

_ARROWS = {True: "higher is better", False: "lower is better", None: ""}


def curve_file(name: str) -> str:
    """The file, beside the page, of a metric's curves."""
    return f"curve_{safe_name(name)}.png"


def draw_curves(path: str | os.PathLike, name: str, curve: Mapping[str, Any]) -> None:
    """Writes the mean curves of all methods as a PNG.

    Args:
        path: the file.
        name: of the metric.
        curve: ``axis`` (what the places are), ``places`` (T numbers), ``methods``: method -> T numbers.
    """
    with plain_words(name, curve["axis"], *curve["methods"]):
        # Without pyplot: no display, and no figures that stay in memory.
        figure = Figure(figsize=(6.5, 4), layout="constrained")
        axes = figure.add_subplot()
        for number, (method, values) in enumerate(curve["methods"].items()):
            # The first lies on top: it is what the run is about, and others may be the same.
            label = chart_word(method)
            axes.plot(curve["places"], values, marker="o", markersize=3, label=label, zorder=3 - number / 100)
        axes.set(title=chart_word(name), xlabel=chart_word(curve["axis"]), ylabel="mean over objects")
        axes.grid(alpha=0.3)
        # Beside the curves: ten methods leave no room among them.
        figure.legend(loc="outside right center")
        with atomic_write(path, "wb") as handle:
            figure.savefig(handle, format="png", dpi=120)


def write_examples(
    path: str | os.PathLike,
    sections: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    methods: Sequence[str],
    notes: Sequence[str] = (),
    title: str = "Explanations, measured",
    charts: Mapping[str, str] | None = None,
    verdicts: Sequence[str] = (),
    account: Mapping[str, Any] | None = None,
) -> None:
    """Writes the page, whole or not at all; curves and charts are files beside it, everything else is inside.

    Args:
        path: the html file.
        sections: for each metric its name ``metric`` and ``rows``: the objects to show, with crops as data URIs.
        summary: ``metrics`` with the table of means, ``curves``.
        methods: columns.
        notes: further remarks, a paragraph each.
        title: heading of the page.
        charts: further images beside the page: file name -> what it shows.
        verdicts: conclusions from the charts, a sentence each.
        account: what became of the annotations: texts, or lists of sentences, by heading.
    """
    page = render_page(
        "measurements.html",
        title=title,
        sections=sections,
        table=summary["metrics"],
        curves=list(summary["curves"]),
        files={name: curve_file(name) for name in summary["curves"]},
        methods=methods,
        notes=notes,
        charts=charts or {},
        verdicts=verdicts,
        account=account or {},
        arrows=_ARROWS,
    )
    write_text(path, page)
