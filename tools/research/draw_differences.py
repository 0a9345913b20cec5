#!/usr/bin/env python
"""Draws the objects of a finished run of odam evaluate where one method is furthest behind another.

    tools/research/draw_differences.py output/fcos --metric pointing_mask --rival gradcam_box --output differences.jpg

A row for each object, the furthest behind first: the image with the annotated box, and both maps with the outline of
the annotated mask, a cross on the map's maximum and the values. The run's own command computes the maps again, so the
data must be where they were.
"""

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from odam_d2.cli.arguments import count, failure, script_parser, typed_arguments
from odam_d2.cli.measured_run import MeasuredRun, measuring_argument_parser
from odam_d2.data.inputs import shown
from odam_d2.data.matching import match_detections
from odam_d2.evaluation import METRICS
from odam_d2.evaluation.ground_truth import TrueObjects
from odam_d2.visualize.crops import crop, region_around, write_rows
from odam_d2.visualize.strips import label_panels

_TRUTH = (0.49, 1.0, 0.61)  # colour of annotated boxes, as on other pages


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("run", metavar="DIR", help="--output of odam evaluate, finished")
    add("--metric", required=True, choices=[n for n, m in METRICS.items() if m.higher_is_better is not None],
        metavar="NAME", help="the metric to compare by")  # fmt: skip
    add("--method", default="odam", metavar="NAME", help="the method that is behind (default: odam)")
    add("--rival", required=True, metavar="NAME", help="the method that is ahead")
    add("--count", type=count, default=4, metavar="N", help="most objects, of different images (default: 4)")
    add("--output", required=True, metavar="JPG", help="the image to write")
    return parser


def furthest_behind(
    rows: Sequence[dict[str, str]], metric: str, method: str, rival: str, count: int
) -> list[dict[str, Any]]:
    """The objects where `method` is furthest behind `rival`, at most one of each image.

    Args:
        rows: of ``per_object.csv``.
        metric: one with a direction.
        method: the worse.
        rival: the better.
        count: at most so many; only objects where `method` is behind.

    Returns:
        By falling distance: ``image_id``, ``annotation_id``, ``values`` of both and ``behind``.
    """
    values: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        if row["method"] in (method, rival) and row[metric] != "":
            values.setdefault((row["image_id"], row["annotation_id"]), {})[row["method"]] = float(row[metric])
    sign = 1.0 if METRICS[metric].higher_is_better else -1.0
    found = [
        {"image_id": i, "annotation_id": a, "values": pair, "behind": sign * (pair[rival] - pair[method])}
        for (i, a), pair in values.items()
        if len(pair) == 2
    ]
    found = sorted((one for one in found if one["behind"] > 0), key=lambda one: -one["behind"])
    first = {one["image_id"]: one for one in reversed(found)}
    return [one for one in found if first[one["image_id"]] is one][:count]


def draw_object(setup: MeasuredRun, one: dict[str, Any], methods: Sequence[str]) -> np.ndarray:
    """(h, w, 3) uint8 RGB row of an object.

    Args:
        setup: of the run.
        one: of :func:`furthest_behind`.
        methods: in the order of the columns.
    """
    record = next(r for r in setup.records if str(r["image_id"]) == one["image_id"])
    entry = setup.inputs([record])[0]
    (output,) = setup.comparison([entry])
    truth, found = TrueObjects.of(record), output["instances"].to("cpu")
    about = (found.pred_boxes.tensor, found.scores, found.pred_classes, truth.boxes, truth.classes)
    matches = match_detections(*about, setup.args.iou_threshold)
    row = [str(number) for number in truth.ids].index(one["annotation_id"])
    found_by = matches.detections[matches.objects == row].tolist()
    if not found_by:
        # Its IoU may lie on the threshold, and another machine rounds differently.
        raise ValueError(
            f"`run` must find its objects again; got none for annotation {one['annotation_id']} of image "
            f"{one['image_id']}, which it had matched: run odam evaluate again on this machine"
        )
    detection = found_by[0]
    image = shown(entry["image"], setup.config.make_input().input_format)
    size = image.shape[:2]
    scale = np.array([size[1] / entry["width"], size[0] / entry["height"]] * 2)
    box = truth.boxes[row].numpy() * scale
    region = region_around(box, *size)
    panels = [crop(image, region, box, color=_TRUTH)]
    titles = [f"{one['image_id']} / {one['annotation_id']}, score {float(found.scores[detection]):.2f}"]
    outlined = image.copy()
    if bool(truth.has_mask[row]):
        mask = cv2.resize(truth.masks[row].numpy().astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
        lines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(outlined, lines, -1, (255, 255, 255), 1)
    for method in methods:
        heat = output["heatmaps"][method][detection].to_image(setup.args.attribute, size=size)[0].cpu().numpy()
        top = np.unravel_index(int(heat.argmax()), heat.shape)
        marked = cv2.drawMarker(outlined.copy(), (int(top[1]), int(top[0])), (255, 0, 255), cv2.MARKER_CROSS, 9, 2)
        panels.append(crop(marked, region, found.pred_boxes.tensor[detection].numpy() * scale, heat.clip(0.0, 1.0)))
        titles.append(f"{method} {one['values'][method]:.2f}")
    return label_panels(panels, titles)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit code."""
    args = argument_parser().parse_args(argv)
    try:
        folder, methods = Path(args.run), (args.method, args.rival)
        about = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["run"]
        if lacking := [name for name in methods if name not in about["methods"]]:
            raise ValueError(
                f"`--method` and `--rival` must be of the run's; got {lacking}: it has {list(about['methods'])}"
            )
        with (folder / "per_object.csv").open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
        if args.metric not in rows[0]:
            raise ValueError(
                f"`--metric` must be measured; got {args.metric}, which the run lacks: run it again with it"
            )
        chosen = furthest_behind(rows, args.metric, *methods, args.count)
        if not chosen:
            raise ValueError(f"`--rival` must be ahead somewhere; got {args.rival}, which nowhere is: nothing to draw")
        setup = MeasuredRun(measuring_argument_parser().parse_args(typed_arguments(about["command"])))
        setup.args.methods = [name for name in about["methods"] if name in methods]
        setup.args.method_options = [one for one in setup.args.method_options if one[0] in methods]
        strips = [draw_object(setup, one, methods) for one in chosen]
    except (ValueError, OSError) as error:
        return failure(error)
    write_rows(args.output, strips)
    return 0


if __name__ == "__main__":
    sys.exit(main())
