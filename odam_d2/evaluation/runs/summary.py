"""From the results of images to a table: means over the same objects for every method, with their intervals."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tabulate import tabulate

from ...utils.csv_text import csv_lines, no_formula
from ...visualize.storage import class_name
from ..bootstrap import bootstrap_interval
from ..metrics.builtin import METRICS
from ..metrics.metric import Metric

_ARROWS = {True: "+", False: "-", None: ""}
# Why a matched object has no value: a few words for the cells of a metric without any, and for a sentence.
_REASONS = {
    "no_mask": ("no masks", "without a mask"),
    "alone": ("no neighbours", "alone in their image"),
    "neighbour_without_mask": ("neighbours without masks", "beside an object without a mask"),
    "no_value": ("no values", "without a value by some method"),
}


def summarise(
    results: Sequence[Mapping[str, Any]], methods: Sequence[str], metrics: Sequence[str], seed: int = 0
) -> dict[str, Any]:
    """Sums up images.

    Args:
        results: of :meth:`~odam_d2.evaluation.runs.measuring.Measuring.measure`, in an order that doesn't depend on
            who measured them.
        methods: in the order of the table.
        metrics: likewise.
        seed: of the bootstrap.

    Returns:
        What JSON can hold. ``counts``: sums over images. ``metrics``: name -> direction, ``objects`` (how many have
        a value), ``dropped`` (how many matched objects have none, by the reasons that there are: ``no_mask``,
        ``alone``, ``neighbour_without_mask``, ``no_value`` by some method), and by method ``mean`` and the 95 %
        ``interval``; ``why_none`` in words where no object has a value. ``curves``: name -> ``axis``, ``places``, and
        by method the mean curve.
    """
    counts: Counter[str] = Counter({"images": len(results)})
    for result in results:
        counts.update(result["counts"])
    images = np.array([k for k, result in enumerate(results) for _ in result["objects"]], dtype=np.int64)
    table, curves = {}, {}
    for name in metrics:
        metric = METRICS[name]
        values = {method: _column(results, "values", method, name) for method in methods}
        # All methods are judged on the same objects.
        has = np.array([~np.isnan(column) for column in values.values()])
        valid, anywhere = np.asarray(has.all(axis=0)), np.asarray(has.any(axis=0))
        dropped = _dropped(results, metric, valid, anywhere)
        row: dict[str, Any] = {
            "higher_is_better": metric.higher_is_better,
            "objects": int(valid.sum()),
            "dropped": dropped,
            "methods": {},
        }
        if not valid.any():
            row["why_none"] = ", ".join(_REASONS[reason][0] for reason in dropped) or "no objects"
        for method in methods if valid.any() else ():
            column = values[method][valid]
            interval = bootstrap_interval(column, images[valid], seed=seed)
            row["methods"][method] = {"mean": float(column.mean()), "interval": list(interval)}
        table[name] = row
        if metric.axis is not None and valid.any():
            label, places = metric.axis
            means = {m: _column(results, "curves", m, name)[valid].mean(0).tolist() for m in methods}
            curves[name] = {"axis": label, "places": list(places), "methods": means}
    return {"counts": dict(counts), "metrics": table, "curves": curves}


def _dropped(
    results: Sequence[Mapping[str, Any]], metric: Metric, valid: np.ndarray, somewhere: np.ndarray
) -> dict[str, int]:
    """Reason -> how many matched objects a metric drops for it; each object has one reason.

    Args:
        results: of images.
        metric: what drops them.
        valid: by object, whether it has a value by all methods.
        somewhere: likewise, by some method.
    """
    reasons: Counter[str] = Counter()
    objects = ((result, one) for result in results for one in result["objects"])
    for (result, one), has_all, has_some in zip(objects, valid, somewhere, strict=True):
        if has_all:
            continue
        if metric.needs_masks and not one["has_mask"]:
            reasons["no_mask"] += 1
        elif metric.needs_neighbours and result["counts"]["objects"] == 1:
            reasons["alone"] += 1
        # Results don't say which neighbours have masks; but nothing else takes a value from all methods.
        elif metric.needs_masks and metric.needs_neighbours and not has_some:
            reasons["neighbour_without_mask"] += 1
        else:
            reasons["no_value"] += 1
    return {reason: reasons[reason] for reason in _REASONS if reasons[reason]}


def _column(results: Sequence[Mapping[str, Any]], kind: str, method: str, name: str) -> np.ndarray:
    """Numbers of one metric, object by object, as float64 with NaN for None."""
    rows = [one for result in results if result["objects"] for one in result[kind][method][name]]
    return np.array(rows, dtype=np.float64)


def format_summary(summary: Mapping[str, Any], methods: Sequence[str]) -> str:
    """The table for a terminal: a row for each metric with its direction, a column for each method.

    Below it a line for what metrics leave out, the same of several metrics once.
    """
    rows = []
    for name, row in summary["metrics"].items():
        cells = [row["methods"].get(method) for method in methods]
        texts = [
            f"{c['mean']:.3f} [{c['interval'][0]:.3f}, {c['interval'][1]:.3f}]" if c else row["why_none"] for c in cells
        ]
        rows.append((name, _ARROWS[row["higher_is_better"]], *texts, row["objects"]))
    table = tabulate(rows, headers=("metric", "", *methods, "objects"), disable_numparse=True)
    return "\n".join([table, *format_dropped(summary)])


def format_dropped(summary: Mapping[str, Any]) -> list[str]:
    """A sentence for what metrics leave out, the same of several metrics once."""
    left_out: dict[str, list[str]] = {}
    for name, row in summary["metrics"].items():
        what = ", ".join(f"{count} {_REASONS[reason][1]}" for reason, count in row["dropped"].items())
        if what:
            left_out.setdefault(what, []).append(name)
    return [f"Matched objects left out by {', '.join(names)}: {what}." for what, names in left_out.items()]


def format_counts(counts: Mapping[str, int]) -> str:
    """What was found, matched and dropped, in two lines."""
    return (
        f"{counts['images']} images. Of the annotations {counts.get('crowd', 0)} are crowds, "
        f"{counts.get('ignored', 0)} to be ignored, {counts.get('empty', 0)} without size; {counts.get('objects', 0)} "
        f"are objects, of which {counts.get('matched', 0)} matched.\n"
        f"Of {counts.get('detections', 0)} detections {counts.get('no_object_of_class', 0)} had no object of their "
        f"class, {counts.get('low_iou', 0)} overlapped too little, {counts.get('taken', 0)} found their object taken."
    )


def objects_csv(
    results: Sequence[Mapping[str, Any]],
    methods: Sequence[str],
    metrics: Sequence[str],
    class_names: Sequence[str] = (),
) -> str:
    """A line for each object and method, its class by number and name; empty where a metric has no value.

    A file's or class's name that a spreadsheet would take for a formula has an apostrophe in front.
    """
    about = ("annotation_id", "class", "score", "iou")
    lines = [
        (result["image_id"], no_formula(result["file_name"]), *(one[key] for key in about),
         no_formula(class_name(one["class"], class_names)), method,
         *(result["values"][method][name][k] for name in metrics))
        for result in results for k, one in enumerate(result["objects"]) for method in methods
    ]  # fmt: skip
    return "".join(csv_lines([("image_id", "file_name", *about, "class_name", "method", *metrics), *lines]))


def pairs_csv(results: Sequence[Mapping[str, Any]], methods: Sequence[str], metrics: Sequence[str]) -> str:
    """A line for each object, other object of its image, and method: how near they are, how much heat strays.

    ``other_object`` is the id of its annotation; of results made before they held ``object_ids`` the number of the
    object among the image's.
    """
    lines = [
        (result["image_id"], result["objects"][int(row)]["annotation_id"],
         result["object_ids"][int(other)] if "object_ids" in result else int(other), method, name, diou, share)
        for result in results if result["objects"] for method in methods for name in metrics
        for row, other, diou, share in result["pairs"][method].get(name, ())
    ]  # fmt: skip
    return "".join(
        csv_lines([("image_id", "annotation_id", "other_object", "method", "metric", "diou", "share"), *lines])
    )
