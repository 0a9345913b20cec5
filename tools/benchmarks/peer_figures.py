"""The figures of a comparison of tools: means, differences from ODAM, times, and what is said of them."""

import importlib.metadata
from collections.abc import Sequence
from typing import Any

import benchmarking
import numpy as np
from peer_tools import Odam, Tool
from tabulate import tabulate

from odam_d2.evaluation.bootstrap import bootstrap_interval
from odam_d2.evaluation.runs.paired import paired_differences

METRICS = ("pointing_mask", "energy_mask", "pointing_box", "energy_box")
QUARTILES = (0.5, 0.25, 0.75, 0.0, 1.0)
# A smaller difference of means is that of two ways to interpolate.
SMALLEST = 0.0005


def summarise(tool: Tool, rows: Sequence[dict[str, Any]], per_image: Sequence[dict[str, Any]]) -> benchmarking.Figures:
    """The figures of a tool: means with intervals over images, differences of ODAM from it, quartiles of times.

    Args:
        tool: which.
        rows: of all tools, one a box.
        per_image: of each timed image how many ``boxes`` it has, and ``seconds_a_map`` of the tools.
    """
    own = [row for row in rows if row["method"] == tool.name]
    good = [row for row in own if row["error"] is None]
    images = np.array([row["image_id"] for row in good])
    metrics = {}
    for name in (*METRICS, "likeness"):
        values = np.array([row[name] for row in good])
        if len(values):
            metrics[name] = {"mean": float(values.mean()), "interval": bootstrap_interval(values, images)}
    as_text = [row | {name: "" if row[name] is None else repr(row[name]) for name in METRICS} for row in rows]
    differences = {
        one.metric: {"mean": one.mean, "interval": one.interval, "objects": one.objects, "odam_is": one.verdict}
        for one in paired_differences(as_text, METRICS, Odam.name, tool.name)
        if one.objects and tool.name != Odam.name
    }
    figures = {"package": tool.package, "version": _version(tool.package), "boxes": len(own), "explained": len(good)}
    if len(good) < len(own):
        figures["first_error"] = next(row["error"] for row in own if row["error"])
    timed = [one for one in per_image if tool.name in one["seconds_a_map"]]
    if timed:
        seconds = np.array([one["seconds_a_map"][tool.name] for one in timed])
        ratios = seconds / [one["seconds_a_map"][Odam.name] for one in timed]
        alone = np.array([one["boxes"] == 1 for one in timed])
        figures |= {"timed_images": len(timed), "timed_images_of_one_box": int(alone.sum())}
        figures["seconds_a_map"] = np.quantile(seconds, QUARTILES).tolist()
        figures["times_odam"] = np.quantile(ratios, QUARTILES).tolist()
        if alone.any():
            figures["times_odam_of_one_box"] = np.quantile(ratios[alone], QUARTILES).tolist()
    return {**figures, "metrics": metrics, "odam_less_this": differences}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def verdicts(figures: benchmarking.Figures) -> list[str]:
    """Sentences on where ODAM is behind another package and where ahead, object by object and in time.

    A difference counts if its interval excludes zero and it doesn't vanish in three decimals; time, if the quartiles of
    the ratio lie on one side of 1.
    """
    found: dict[str, list[str]] = {"worse": [], "better": []}
    for name, row in figures["rows"].items():
        if row["package"] == Odam.package:
            continue
        for metric, one in row["odam_less_this"].items():
            if one["odam_is"] in found and abs(one["mean"]) >= SMALLEST:
                found[one["odam_is"]].append(f"{metric} against {name} ({one['mean']:+.3f})")
        if "times_odam" in row:
            middle, low, high, *_ = row["times_odam"]
            if high < 1 or low > 1:
                found["worse" if high < 1 else "better"].append(f"time against {name} (x {middle:.2f})")
        if "times_odam_of_one_box" in row:
            middle, low, high, *_ = row["times_odam_of_one_box"]
            if high < 1 or low > 1:
                found["worse" if high < 1 else "better"].append(f"time of a box alone against {name} (x {middle:.2f})")
    return [
        f"ODAM is {word} in: {'; '.join(found[kind]) or 'nothing'}."
        for word, kind in (("behind", "worse"), ("ahead", "better"))
    ]


def table(figures: benchmarking.Figures) -> str:
    """The figures as two Markdown tables, then what is missing, what failed, and who is ahead."""
    rows, settings = figures["rows"], figures["settings"]
    quality, speed, told = [], [], list(figures["missing"].values())
    for name, row in rows.items():
        if row["metrics"]:
            cells = [
                f"{m['mean']:.3f} [{m['interval'][0]:.3f}, {m['interval'][1]:.3f}]" for m in row["metrics"].values()
            ]
            quality.append([name, row["explained"], *cells])
        if "seconds_a_map" in row:
            middle, low, high, *_ = (1000 * seconds for seconds in row["seconds_a_map"])
            ratio = row["times_odam"]
            about = [f"{ratio[0]:.2f} [{ratio[1]:.2f}, {ratio[2]:.2f}]", f"{ratio[3]:.2f} - {ratio[4]:.2f}"]
            if "times_odam_of_one_box" in row:
                middle_of_one, low_of_one, high_of_one, *_ = row["times_odam_of_one_box"]
                of_one = f"{middle_of_one:.2f} [{low_of_one:.2f}, {high_of_one:.2f}]"
                about.append(f"{of_one}, {row['timed_images_of_one_box']} images")
            speed.append([name, row["timed_images"], f"{middle:.0f} [{low:.0f}, {high:.0f}]", *about])
        if "first_error" in row:
            told.append(
                f"{name} failed on {row['boxes'] - row['explained']} of {row['boxes']} boxes: {row['first_error']}"
            )
    heads = (
        ["tool", "boxes", *(metric.replace("_", ", ") for metric in METRICS), "cosine with ODAM's"],
        ["tool", "images", "ms a map [quartiles]", "of ODAM's on the same image", "range", "with one box"],
    )
    packages = sorted({f"{row['package']} {row['version']}" for row in rows.values()})
    lines = [
        tabulate(quality, heads[0], tablefmt="github", disable_numparse=True),
        "",
        tabulate(speed, heads[1], tablefmt="github", disable_numparse=True),
        "",
        *told,
        *verdicts(figures),
        f"{figures['boxes']} boxes in {figures['images_with_boxes']} of {figures['images']} images; "
        f"{figures['detector']}, layers {', '.join(figures['layers'])}; {settings['threads']} threads; "
        f"{', '.join(packages)}.",
    ]
    return "\n".join(lines)
