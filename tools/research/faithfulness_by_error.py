#!/usr/bin/env python
"""Measures maps of correct detections and of each kind of mistake apart: deletion, insertion, pointing and energy.

    tools/research/faithfulness_by_error.py --config-file synthetic/faster_rcnn_compact_FPN \\
        --dataset synthetic_scene_val --amp --records output/by_error.jsonl --output output/by_error.json
    tools/research/faithfulness_by_error.py --config-file synthetic/faster_rcnn_compact_FPN \\
        --dataset synthetic_scene_val --amp --records output/by_error.jsonl --summarise

A finished image is a line of --records; the same command goes on, and one with a larger --per-kind adds boxes of images
that have no line yet. Detections are explained as
detected, missed objects as given boxes. Everything is about the explained box and class: deletion and insertion follow
the score of that class on that box, and "box" in a metric's name means that box. "mask" is the mask of the annotated
object that the mistake is judged against, which errors on background have none of. "_area" is not divided by the score
of the untouched image. --summarise prints what there is.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import odam_d2  # noqa: F401  before Detectron2, whose import warns of itself

# isort: split
import numpy as np
import torch
from tabulate import tabulate
from tqdm import tqdm

from odam_d2.analysis import label_errors
from odam_d2.cli.arguments import add_config, add_output_json, add_seed, count, failure, script_parser, share
from odam_d2.cli.data_run import DataRun
from odam_d2.env import collect_versions
from odam_d2.evaluation import METRICS
from odam_d2.evaluation.bootstrap import bootstrap_interval
from odam_d2.evaluation.ground_truth import TrueObjects
from odam_d2.evaluation.metrics.candidates import object_scorer
from odam_d2.explain import METHODS, build_comparison
from odam_d2.explain.reachable import reachable_rows
from odam_d2.modeling import inference_copy
from odam_d2.utils.files import write_json

sys.path.insert(0, str(Path(__file__).parent))
from error_subjects import (  # noqa: E402  a script's neighbour
    KINDS,
    MEASURED,
    MISSED,
    Subject,
    as_objects,
    choose,
    given_boxes,
    values_of,
)

# The first is compared with the others. HiResCAM's maps are ODAM's where one level produces a detection.
DEFAULT = ["odam", *(name for name in METHODS if name not in ("odam", "hirescam"))]
# Areas under plain scores, not shares of the untouched image's score: of missed objects that is next to nothing.
AREAS = {"deletion_area": "deletion", "insertion_area": "insertion"}
# What a run's values depend on.
KEPT = (
    "config_file", "dataset", "annotations", "score_threshold", "missed_threshold", "max_detections", "methods",
    "metrics", "masks", "steps", "per_image", "seed", "amp", "opts",
)  # fmt: skip


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = script_parser(__doc__)
    add_config(parser)
    add = parser.add_argument
    add("--dataset", metavar="NAME", help="registered; otherwise give --annotations and --images")
    add("--annotations", metavar="JSON", help="COCO file")
    add("--images", metavar="DIR", help="folder of its images")
    add("--methods", nargs="+", choices=sorted(METHODS), default=DEFAULT, metavar="NAME",
        help="default: all but hirescam, whose maps are ODAM's where one level produces a detection")  # fmt: skip
    add("--metrics", nargs="+", choices=MEASURED, default=list(MEASURED), metavar="NAME",
        help=f"default: {' '.join(MEASURED)}")  # fmt: skip
    add("--masks", type=count, default=300, metavar="N", help="of D-RISE, an image (default: %(default)s)")
    add("--score-threshold", type=share, default=0.3, metavar="S", help="lowest score of a detection (default: 0.3)")
    add("--missed-threshold", type=share, default=0.5, metavar="S",
        help="objects are missed that nothing explains from this score on (default: 0.5)")  # fmt: skip
    add("--max-detections", type=count, default=100, metavar="N", help="most of an image (default: %(default)s)")
    add("--per-kind", type=count, default=60, metavar="N", help="boxes of each kind (default: %(default)s)")
    add("--per-image", type=count, default=1, metavar="N", help="of them in one image (default: %(default)s)")
    add("--steps", type=count, default=10, metavar="N",
        help="of 100 at which deletion and insertion score, evenly apart (default: %(default)s)")  # fmt: skip
    add("--amp", action="store_true", help="score changed images in mixed precision, see odam evaluate")
    add("--records", required=True, metavar="JSONL", help="a line for each finished image; the run goes on behind it")
    add("--summarise", action="store_true", help="measure nothing more")
    add_seed(parser, "what is drawn, noise, masks and error bars")
    add_output_json(parser)
    return parser


def finished(path: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of a run with these settings, without the torn one that an interruption leaves; begins a new run.

    Raises:
        ValueError: if the file is of a run with other settings.
    """
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
        path.write_text("".join(lines), encoding="utf-8")
    if not lines:
        path.parent.mkdir(parents=True, exist_ok=True)
        append(path, {"settings": settings, "versions": collect_versions()})
        return []
    begun = json.loads(lines[0])["settings"]
    other = sorted(name for name in settings if begun.get(name) != json.loads(json.dumps(settings[name])))
    if other:
        raise ValueError(f"`--records` must be of a run with the same settings; got others of {other}: name a new file")
    return [json.loads(line) for line in lines[1:]]


def append(path: Path, line: dict[str, Any]) -> None:
    """One more line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def measured_images(args: argparse.Namespace, records: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A line for each image that isn't among those that `records` are of, until there are enough of each kind."""
    run = DataRun(args)
    model = run.model.eval()
    own = {"seed": args.seed, "amp": args.amp, "progress": False, "num_masks": args.masks}
    options = {"drise": own, "random": {"seed": args.seed}}
    comparison = build_comparison(model, {name: options.get(name, {}) for name in args.methods}, ("score",))
    asks = any(METRICS[name].needs_detector for name in args.metrics)
    score = object_scorer(inference_copy(model), amp=args.amp) if asks else None
    done, had = {line["image_id"] for line in records}, Counter()
    for line in records:
        had.update(subject["kind"] for subject in line["subjects"])
    numbers = [number for number, record in enumerate(run.records) if record["image_id"] not in done]
    inputs = run.inputs([run.records[number] for number in numbers])
    bar = {"total": len(run.records), "initial": len(done), "desc": "measuring", "unit": "image"}
    for place, number in enumerate(tqdm(numbers, **bar)):
        room = {kind: args.per_kind - had[kind] for kind in KINDS}
        if max(room.values()) <= 0:
            return
        start, record, entry = time.perf_counter(), run.records[number], inputs[place]
        subjects = measure_image(args, record, entry, comparison, score, room, number)
        had.update(subject["kind"] for subject in subjects)
        if subjects:
            yield {"image_id": record["image_id"], "subjects": subjects, "seconds": time.perf_counter() - start}


def measure_image(args, record, entry, comparison, score, room, number) -> list[dict[str, Any]]:
    """What is measured of one image: a dict for each subject."""
    with torch.no_grad():
        (found,) = (one["instances"] for one in comparison.model([entry]))
    truth, errors = TrueObjects.of(record), label_errors(found, record)
    missed = label_errors(found[found.scores >= args.missed_threshold], record).missed
    chosen = choose(errors, missed, room, args.per_image, [args.seed, number])
    lines = []
    for parts in ([one for one in chosen if one.kind != MISSED], [one for one in chosen if one.kind == MISSED]):
        if not parts:
            continue
        given = None
        if parts[0].kind == MISSED:
            given = given_boxes(truth, parts)
            reached = reachable_rows(comparison, entry, given) if hasattr(comparison.model, "match_given") else None
            rows = list(range(len(parts))) if reached is None else reached
            parts, given = [parts[row] for row in rows], given[rows]
            if not parts:
                continue
        (result,) = comparison([entry], None if given is None else [given])
        explained = result["instances"]
        rows = [one.row for one in parts] if given is None else list(range(len(parts)))
        lines += lines_of(args, parts, rows, explained, result["heatmaps"], truth, errors, entry["image"], score)
    return lines


def lines_of(
    args, parts: Sequence[Subject], rows: list[int], explained, heatmaps, truth, errors, image, score
) -> list[dict[str, Any]]:
    """A dict for each of some subjects, which stand in `rows` of what was explained."""
    boxes, classes = explained.pred_boxes.tensor[rows].detach().cpu(), explained.pred_classes[rows].cpu()
    objects = as_objects(boxes, classes, parts, truth)
    values = values_of(
        {n: maps[rows] for n, maps in heatmaps.items()},
        objects,
        image,
        score,
        args.metrics,
        args.seed,
        scored_steps(args.steps),
    )
    return [
        {
            "kind": one.kind,
            "class": int(classes[k]),
            "score": float(explained.scores[row]),
            "iou": 1.0 if one.kind == MISSED else float(errors.iou[one.row]),
            "box": boxes[k].tolist(),
            "annotation_id": objects.ids[k],
            "values": values[k],
        }
        for k, (one, row) in enumerate(zip(parts, rows, strict=True))
    ]


def scored_steps(number: int) -> tuple[int, ...]:
    """So many of the 100 steps of deletion and insertion, the last one among them."""
    return tuple(round(100 * k / number) for k in range(1, number + 1))


def add_areas(records: Sequence[dict[str, Any]], metrics: Sequence[str]) -> list[str]:
    """Gives each subject its :data:`AREAS` that can be told, and returns the metrics with them."""
    known = {area: relative for area, relative in AREAS.items() if {relative, "untouched"} <= set(metrics)}
    every = (values for line in records for one in line["subjects"] for values in one["values"].values())
    for values in every:
        for area, relative in known.items():
            values[area] = None if values[relative] is None else values[relative] * values["untouched"]
    return [*metrics, *known]


def summarise(
    records: Sequence[dict[str, Any]], methods: Sequence[str], metrics: Sequence[str], seed: int
) -> dict[str, Any]:
    """Kind -> metric -> method -> mean, 95 % interval over images and n; and the first method less each other one."""
    table: dict[str, Any] = {}
    for kind in KINDS:
        rows = [
            (line["image_id"], one["values"]) for line in records for one in line["subjects"] if one["kind"] == kind
        ]
        table[kind] = {}
        for metric in metrics:
            columns = {
                method: np.array([np.nan if v[method][metric] is None else v[method][metric] for _, v in rows], float)
                for method in methods
            }
            images = np.array([image for image, _ in rows])
            first = columns[methods[0]]
            table[kind][metric] = {
                "means": {name: told(column, images, seed) for name, column in columns.items()},
                "differences": {
                    name: told(first - column, images, seed) for name, column in columns.items() if name != methods[0]
                },
            }
    return table


def told(values: np.ndarray, images: np.ndarray, seed: int) -> dict[str, Any]:
    """Mean, interval and n; None where there is no value."""
    valid = values[~np.isnan(values)]
    if not len(valid):
        return {"mean": None, "interval": None, "n": 0}
    return {
        "mean": float(valid.mean()),
        "interval": list(bootstrap_interval(values, images, seed=seed)),
        "n": len(valid),
    }


def tables(summary: dict[str, Any], methods: Sequence[str]) -> str:
    """Markdown: a table for each metric, a row for each method, a column for each kind."""
    parts = []
    for metric in next(iter(summary.values())):
        direction = METRICS[AREAS.get(metric, metric)].higher_is_better
        arrow = {True: " +", False: " -", None: ""}[direction]
        kinds = [kind for kind in KINDS if any(one["n"] for one in summary[kind][metric]["means"].values())]
        counts = {kind: max(one["n"] for one in summary[kind][metric]["means"].values()) for kind in kinds}
        body = [
            [method, *(cell(summary[kind][metric], method, methods[0], direction) for kind in kinds)]
            for method in (methods if direction is not None else methods[:1])
        ]
        parts.append(tabulate(body, [metric + arrow, *(f"{k} (n {counts[k]})" for k in kinds)], tablefmt="github"))
    return "\n\n".join(parts)


def cell(figures: dict[str, Any], method: str, first: str, direction: bool | None) -> str:
    """Mean and interval; and whether the first method is better or worse than this one, where that isn't open."""
    one = figures["means"][method]
    if not one["n"]:
        return "none"
    text = f"{one['mean']:.3f} [{one['interval'][0]:.3f}, {one['interval'][1]:.3f}]"
    difference = figures["differences"].get(method)
    if method == first or direction is None or not difference["n"]:
        return text
    low, high = difference["interval"]
    if low <= 0.0 <= high:
        return text
    return f"{text} {'behind' if (low > 0.0) == direction else 'ahead'}"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit code."""
    parser = argument_parser()
    args = parser.parse_args(argv)
    if bool(args.dataset) == bool(args.annotations and args.images):
        parser.error("give either --dataset, or --annotations and --images")
    path = Path(args.records)
    settings = {name: getattr(args, name) for name in KEPT}
    try:
        records = finished(path, settings)
        for line in () if args.summarise else measured_images(args, records):
            append(path, line)
            records.append(line)
    except (ValueError, ImportError, OSError) as error:
        return failure(error)
    summary = summarise(records, args.methods, add_areas(records, args.metrics), args.seed)
    counts = Counter(one["kind"] for line in records for one in line["subjects"])
    print(tables(summary, args.methods))
    print(f"\n{len(records)} images; {dict(counts)}. Mean and 95 % interval over images, seed {args.seed};")
    print(f"ahead of or behind {args.methods[0]} where the difference box by box leaves zero out.")
    if args.output:
        versions = {name: value for name, value in collect_versions().items() if name != "detectron2_path"}
        told_of = {"settings": settings, "versions": versions, "images": len(records), "counts": dict(counts)}
        write_json(args.output, {**told_of, "kinds": summary})
    return 0


if __name__ == "__main__":
    sys.exit(main())
