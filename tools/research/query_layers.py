#!/usr/bin/env python
"""Compares layers, sums and paths of the gradient of an RT-DETR: maps of each variant by plain autograd, by metrics.

    tools/research/query_layers.py --config-file synthetic/rtdetr_compact_FPN --dataset synthetic_scene_val \\
        --variants encoder projection "memory, levels 0 and 1" --output output/query_layers.json
    tools/research/query_layers.py --config-file synthetic/rtdetr_compact_FPN --dataset synthetic_scene_val \\
        --variants encoder "encoder, own query" box --drise 300 --metrics deletion insertion

A variant is a layer and, behind commas, what is changed: see query_variants.py. "box", a Gaussian in the detected
box, and "occlusion of encoder" (or of another stage, or of pixels) are references without gradients.
"""

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import odam_d2  # noqa: F401  before Detectron2, whose import warns of itself

# isort: split
import torch
from query_occlusion import occluded_maps
from query_variants import BOX, OCCLUSION, Pass, gradients, levels_of, read_variant, variant_name
from torch import Tensor
from tqdm import tqdm

from odam_d2.cli.arguments import add_config, add_output_json, add_seed, count, failure, overlap, script_parser, share
from odam_d2.cli.data_run import DataRun
from odam_d2.data.matching import match_detections
from odam_d2.env import collect_versions
from odam_d2.evaluation import METRICS, Measuring
from odam_d2.evaluation.ground_truth import TrueObjects
from odam_d2.evaluation.metrics.candidates import object_scorer
from odam_d2.evaluation.metrics.correlation import maps_on_cells, rank_correlation, same_up_to_scale
from odam_d2.evaluation.runs.paired import paired_differences
from odam_d2.evaluation.runs.summary import format_counts, format_summary, objects_csv, summarise
from odam_d2.explain import build_explainer
from odam_d2.meta_arch.detr import OdamDETR
from odam_d2.modeling import inference_copy
from odam_d2.modeling.detr import RTDetr
from odam_d2.structures import HeatMaps
from odam_d2.utils.files import write_json


def as_heat_maps(levels: Sequence[Tensor], padded: Sequence[int], image_size, output_size) -> HeatMaps:
    """R HeatMaps from (R, H, W) of each level."""
    count, values, windows, strides = len(levels[0]), [], [], []
    for row in range(count):
        for level in levels:
            height, width = level.shape[-2:]
            # Where several are added, the ReLU waits for their sum.
            values.append((level[row].clamp(min=0) if len(levels) == 1 else level[row]).flatten())
            windows.append([0, 0, height, width])
            strides.append([padded[0] / height, padded[1] / width])
    windows = torch.tensor(windows).view(-1, 4)
    owners = torch.arange(count).repeat_interleave(len(levels))
    flat = torch.cat([*values, torch.zeros(0)])[None]
    sizes = (image_size, output_size)
    return HeatMaps(flat, windows, windows[:, 2:], torch.tensor(strides).view(-1, 2), ("score",), *sizes, owners)


def box_maps(boxes: Tensor, height: int, width: int) -> Tensor:
    """(R, height, width): a Gaussian in each box, a quarter of its sides wide."""
    (x1, y1, x2, y2), axes = boxes.unbind(1), []
    for low, high, size in ((y1, y2, height), (x1, x2, width)):
        centre, sigma = (low + high)[:, None] / 2, (high - low)[:, None] / 4
        axes.append(torch.exp(-0.5 * ((torch.arange(size) + 0.5 - centre) / sigma) ** 2))
    return axes[0][:, :, None] * axes[1][:, None]


def matched(record: dict, iou_threshold: float, found: Any) -> Tensor:
    """(R,) int64: the detections among `found` that match an object of the record."""
    truth = TrueObjects.of(record)
    said = (found.pred_boxes.tensor, found.scores, found.pred_classes)
    return match_detections(*said, truth.boxes, truth.classes, iou_threshold).detections


def likeness(maps: HeatMaps, others: HeatMaps) -> Tensor:
    """(R,) rank correlations of maps on cells; 1 where they are the same up to their scale, as in the sanity checks."""
    pairs = list(zip(maps_on_cells(maps, "score"), maps_on_cells(others, "score"), strict=True))
    return torch.tensor([1.0 if same_up_to_scale(*pair) else float(rank_correlation(*pair)) for pair in pairs])


def explain(
    model: OdamDETR, entry: dict, wanted: Any, names: Sequence[str], drise: Any, exchanged: dict[str, list[Tensor]]
) -> dict[str, Any]:
    """What :class:`Measuring` takes of an image: the matched detections, and their maps by each variant.

    Args:
        model: the detector.
        entry: the image, as it takes it.
        wanted: from its detections to the (R,) rows of those that are measured.
        names: of the variants.
        drise: an explainer to compare with; None for none.
        exchanged: of each of its variants, the likeness of these maps to those of the next class is put there.
    """
    with torch.no_grad():
        trace = model.trace([entry])
    chosen = wanted(trace.instances[0])
    instances, boxes, maps = trace.instances[0][chosen], trace.boxes[chosen], {}
    variants = {name: read_variant(name) for name in names if name != BOX and name not in OCCLUSION}
    sizes = (trace.image_sizes[0], trace.output_sizes[0])
    for cuts in dict.fromkeys(variant.cuts for variant in variants.values()) if len(chosen) else ():
        alike = {name: variant for name, variant in variants.items() if variant.cuts == cuts}
        with torch.enable_grad():
            run = Pass.of(model, entry["image"], cuts)
            black = Pass.of(model, torch.zeros_like(entry["image"]), cuts)
            of_classes = model.architecture.probabilities(run.logits)[trace.rows[chosen]]
            every, classes = torch.arange(len(chosen)), trace.classes[chosen]
            scores = of_classes[every, classes]
            of_others = of_classes[every, (classes + 1) % of_classes.shape[1]]
        if not torch.allclose(scores.detach(), instances.scores, atol=1e-4):
            raise ValueError(
                "`--config-file` must give the same scores with a graph; got others: its layers are unknown"
            )
        layers = list(dict.fromkeys(variant.layer for variant in alike.values()))
        found = gradients(run, scores, layers)
        found_of_others = gradients(run, of_others, layers) if exchanged else {}
        for name, variant in alike.items():
            made = [
                as_heat_maps(levels_of(variant, run, black, of_layer[variant.layer], boxes), run.padded, *sizes)
                for of_layer in (found, found_of_others)
                if of_layer
            ]
            maps[name] = made[0]
            if name in exchanged:
                exchanged[name].append(likeness(*made))
    if BOX in names and len(chosen):
        maps[BOX] = as_heat_maps([box_maps(boxes, *trace.padded_size)], trace.padded_size, *sizes)
    for name in names if len(chosen) else ():
        if name in OCCLUSION:
            level = occluded_maps(model, entry["image"], boxes, trace.classes[chosen], OCCLUSION[name])
            maps[name] = as_heat_maps([level], trace.padded_size, *sizes)
    if drise is not None and len(chosen):
        maps["drise"] = drise([entry])[0]["instances"].heatmaps[chosen]
    order = [*names, *(["drise"] if drise is not None else [])]
    return {"instances": instances, "heatmaps": {name: maps.get(name) for name in order}}


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = script_parser(__doc__)
    add_config(parser, "synthetic/rtdetr_compact_FPN")
    add = parser.add_argument
    add("--dataset", default="synthetic_scene_val", metavar="NAME", help="registered (default: %(default)s)")
    add("--max-images", type=count, default=16, metavar="N", help="the first N images (default: %(default)s)")
    add("--variants", nargs="+", type=variant_name, default=["encoder"], metavar="NAME",
        help="e.g. 'encoder, own query'; others are compared with the first (default: encoder)")  # fmt: skip
    add("--metrics", nargs="+", choices=list(METRICS), metavar="NAME",
        default=["pointing_mask", "energy_mask", "compactness", "vea"], help="see odam evaluate")  # fmt: skip
    add("--drise", type=count, metavar="N", help="also D-RISE with N masks (default: without)")
    add(
        "--another-class",
        action="store_true",
        help="also the rank correlation with maps of the next class on the same query (at most .7 passes)",
    )
    add("--iou-threshold", type=overlap, default=0.5, metavar="T",
        help="IoU that a detection and its object must exceed (default: %(default)s)")  # fmt: skip
    add("--score-threshold", type=share, default=0.5, metavar="S", help="lowest score of a detection (default: 0.5)")
    add("--max-detections", type=count, default=100, metavar="N", help="most of an image (default: %(default)s)")
    add("--amp", action="store_true", help="score changed images in mixed precision, see odam evaluate")
    add_seed(parser, "noise, masks and error bars")
    add_output_json(parser)
    return parser


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """The figures, as they go to JSON."""
    args.annotations = args.images = None
    run = DataRun(args)
    model = run.model.eval()
    if not isinstance(model, OdamDETR) or not isinstance(model.architecture, RTDetr):
        raise ValueError(f"`--config-file` must be of an RT-DETR; got {type(model).__name__}: choose one of those")
    score = (
        object_scorer(inference_copy(model), amp=args.amp)
        if any(METRICS[n].needs_detector for n in args.metrics)
        else None
    )
    measuring = Measuring(tuple(args.metrics), args.iou_threshold, score=score, seed=args.seed)
    drise = build_explainer(model, method="drise", attributes=("score",), num_masks=args.drise, seed=args.seed,
                            amp=args.amp, progress=False) if args.drise else None  # fmt: skip
    records, results, names = run.records[: args.max_images], [], list(args.variants)
    exchanged: dict[str, list[Tensor]] = {
        name: [] for name in names if args.another_class and name != BOX and name not in OCCLUSION
    }
    for record, entry in zip(tqdm(records, desc="measuring", unit="image"), run.inputs(records), strict=True):
        output = explain(model, entry, partial(matched, record, args.iou_threshold), names, drise, exchanged)
        results.append(measuring.measure(record, entry["image"], output)[0])
    methods = [*names, *(["drise"] if drise is not None else [])]
    summary = summarise(results, methods, args.metrics, args.seed)
    rows = list(csv.DictReader(io.StringIO(objects_csv(results, methods, args.metrics))))
    rivals = [
        (name, rival) for rival in (methods[0], "drise") for name in methods if rival in methods and name != rival
    ]
    differences = {
        f"{name} less {rival}": [asdict(one) | {"verdict": one.verdict} for one in
               paired_differences(rows, args.metrics, name, rival, args.seed)]
        for name, rival in rivals
    }  # fmt: skip
    return {
        **summary,
        "methods": methods,
        "differences": differences,
        "another_class": {name: torch.cat(values).tolist() for name, values in exchanged.items()},
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit code."""
    args = argument_parser().parse_args(argv)
    try:
        figures = measure(args)
    except (ValueError, ImportError, OSError) as error:
        return failure(error)
    methods = figures["methods"]
    print(format_summary(figures, methods))
    print(format_counts(figures["counts"]))
    for name, values in figures["another_class"].items():
        mean = sum(values) / max(len(values), 1)
        print(f"{name}: rank correlation with the maps of another class {mean:.2f} ({len(values)} objects)")
    for pair, differences in figures["differences"].items():
        told = (f"{d['metric']} {d['mean']:+.3f} [{d['interval'][0]:+.3f}, {d['interval'][1]:+.3f}] {d['verdict']}"
                for d in differences)  # fmt: skip
        print(f"{pair}: {', '.join(told)}")
    if args.output:
        versions = {name: value for name, value in collect_versions().items() if name != "detectron2_path"}
        settings = {name: value for name, value in vars(args).items() if name != "output"}
        write_json(args.output, {**figures, "settings": settings, "versions": versions})
    return 0


if __name__ == "__main__":
    sys.exit(main())
