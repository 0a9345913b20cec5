#!/usr/bin/env python
"""Compares this project with pytorch-grad-cam and captum: the same detector, the same boxes, one run.

    tools/benchmarks/peers.py --config-file synthetic/faster_rcnn_compact_FPN \
        --annotations datasets/demo/annotations.json --images datasets/demo/images --output output/peers.json
    tools/benchmarks/peers.py --model my.py:build --labels ids --annotations my.json --images images/

The detector is torchvision's: what a function of a file builds, or a Detectron2 Faster R-CNN's twin with the same
weights (torchvision_twin.py). Detections above --score-threshold, one-to-one with an annotated object of their class
that has a mask, are explained by all tools, from the image to maps in its frame. Time is processor time for a map, the
median over images; tools take turns on each image, and its ratio to ODAM's is that of the image. A tool whose package
is missing is left out and told; so is what fails, box by box. Pointing and energy have 95 % intervals over images, and
differences from ODAM are judged object by object; where this project is behind, that is printed too. `my.py` may be as
short as

    from torchvision.models.detection import fasterrcnn_resnet50_fpn
    build = lambda: fasterrcnn_resnet50_fpn(weights="DEFAULT")
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import benchmarking
import torch
from peer_figures import summarise, table
from peer_subject import Scene, Subject
from peer_tools import TOOLS, Odam, Tool
from torch import Tensor, nn
from torchvision_twin import twin_of
from tqdm import tqdm

from odam_d2.cli.arguments import add_config, add_output_json, count, overlap, script_parser, share
from odam_d2.cli.config import read_run_config
from odam_d2.data.coco import CocoFile
from odam_d2.evaluation.metrics.localization import energy_inside, pointing_game
from odam_d2.utils.imports import import_file_or_module


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = script_parser(__doc__)
    add = parser.add_argument
    add(
        "--model",
        metavar="FILE.py:FUNCTION",
        help="builds a detector of torchvision's form (default: --config-file's twin)",
    )
    add_config(parser, "synthetic/faster_rcnn_compact_FPN")
    add("--annotations", required=True, metavar="JSON", help="COCO file with masks")
    add("--images", required=True, metavar="DIR", help="folder of its images")
    add("--labels", choices=["ids", "order"], default="order",
        help="what the detector's labels are: categories' ids, as with torchvision's weights, or their places by "
        "rising id, from 1 on (default: order)")  # fmt: skip
    add("--layers", nargs="+", metavar="PATH",
        help="modules whose maps are explained (default: the FPN's levels that boxes are pooled from)")  # fmt: skip
    add("--score-threshold", type=share, default=0.5, metavar="S", help="lowest score of a detection (default: 0.5)")
    add("--iou-threshold", type=overlap, default=0.5, metavar="T",
        help="an object and its detection must overlap by more (default: 0.5)")  # fmt: skip
    add("--max-images", type=count, metavar="N", help="the first N images (default: all)")
    add("--repeats", type=count, default=3, metavar="N",
        help="timed rounds on each image, after the one whose maps are measured (default: %(default)s)")  # fmt: skip
    add("--timed-images", type=count, metavar="N", help="time the first N images with boxes alone (default: all)")
    parser.add_argument("--threads", type=count, default=1, metavar="N", help="torch threads (default: 1)")
    add_output_json(parser)
    return parser


def build_subject(args: argparse.Namespace) -> Subject:
    """The detector that the command line names, and its layers.

    Raises:
        ValueError: if it can't be built, or has no such layers.
    """
    if args.model is None:
        config = read_run_config(args, 0.0, 100)
        config.device = "cpu"
        model, maker = config.build(), config.make_input()
        config.load_weights(model)
        net: nn.Module = twin_of(model, *_sizes(maker))
        levels = "backbone.levels."
    else:
        net, levels = _called(args.model), "backbone.fpn.layer_blocks."
    paths = args.layers or [
        path for path, _ in net.named_modules() if path.startswith(levels) and path.removeprefix(levels).isdigit()
    ]
    if not paths:
        raise ValueError(
            f"`--layers` must be named; got none, and the detector has no {levels}0: print(model) shows them"
        )
    return Subject(net, paths)


def _sizes(maker: Any) -> tuple[int, int]:
    """The sides that a config's images are resized to, by what it makes of squares and of long strips."""
    steps = maker.augment.steps.augs
    if len(steps) != 1 or not hasattr(steps[0], "short_edge_length"):
        raise ValueError(
            "the config must resize by the shorter side alone, as torchvision does; got others: use --model"
        )
    return int(max(steps[0].short_edge_length)), int(steps[0].max_size)


def _called(named: str) -> nn.Module:
    """What FILE.py:FUNCTION builds."""
    file, colon, function = named.rpartition(":")
    if not (file and colon and function.isidentifier()):
        raise ValueError(
            f"`--model` must be FILE.py:FUNCTION; got {named!r}: name the function that builds the detector"
        )
    module = import_file_or_module(file)
    if not callable(getattr(module, function, None)):
        raise ValueError(f"`--model` must name a function of {file}; got {function!r}, which isn't there: define it")
    net = getattr(module, function)()
    if not isinstance(net, nn.Module):
        raise ValueError(f"`--model` must build a torch module; got {type(net).__name__}: return the detector")
    return net


def read_scenes(args: argparse.Namespace, subject: Subject) -> tuple[list[Scene], int]:
    """Images with objects that are found and explained, and how many images there were.

    Raises:
        ValueError: if the annotations can't be read, or no object is found.
    """
    file = CocoFile(args.annotations, images=args.images)
    ids = {number: category for category, number in file.numbers.items()}
    scenes, records = [], file.records[: args.max_images]
    for record in tqdm(records, desc="detections", leave=False):
        for item in record["annotations"]:
            number = item["category_id"]
            item["category_id"] = ids[number] if args.labels == "ids" else number + 1
        scene = subject.scene(record, args.score_threshold, args.iou_threshold)
        scenes += [scene] if len(scene) else []
    if not scenes:
        raise ValueError(
            f"`--images` must show annotated objects that are found; got none in {len(records)} images: lower "
            "--score-threshold, or see whether --labels fits"
        )
    return scenes, len(records)


def build_tools(subject: Subject, strides: list[float]) -> tuple[list[Tool], dict[str, str]]:
    """The tools whose packages are there, and one sentence for each package that isn't."""
    tools: list[Tool] = []
    missing: dict[str, str] = {}
    for kind in TOOLS:
        try:
            tools.append(kind(subject, strides))
        except ImportError as error:
            missing[kind.package] = f"{kind.package} can't be imported ({error}), so it is left out: pip install it"
    return tools, missing


def attempt(tool: Tool, scene: Scene) -> tuple[Tensor, list[str | None]]:
    """Maps (R, h, w) of a scene, NaN where the tool fails, and for each box how it failed."""
    try:
        return tool.explain(scene), [None] * len(scene)
    except Exception as error:  # another package may fail in any way
        if isinstance(tool, Odam):
            raise
        if len(scene) == 1:
            text = " ".join(str(error).split()) or "no reason given"
            return torch.full(scene.masks.shape, torch.nan), [f"{type(error).__name__}: {text}"]
    parts = [attempt(tool, scene.only(row)) for row in range(len(scene))]
    return torch.cat([maps for maps, _ in parts]), [error for _, errors in parts for error in errors]


def values_of(maps: Tensor, scene: Scene, odam: Tensor) -> dict[str, list[float]]:
    """The metrics of each box, and the cosine of its map with ODAM's."""
    likeness = torch.nn.functional.cosine_similarity(maps.flatten(1), odam.flatten(1))
    found = {
        "pointing_mask": pointing_game(maps, scene.masks),
        "energy_mask": energy_inside(maps, scene.masks),
        "pointing_box": pointing_game(maps, scene.inside),
        "energy_box": energy_inside(maps, scene.inside),
        "likeness": likeness,
    }
    return {name: values.tolist() for name, values in found.items()}


def explain_by_all(tools: Sequence[Tool], scene: Scene) -> list[dict[str, Any]]:
    """A row for each tool and box of an image: its metrics, or the error."""
    rows: list[dict[str, Any]] = []
    odam = None
    for tool in tools:
        maps, errors = attempt(tool, scene)
        odam = maps if odam is None else odam
        values = values_of(maps, scene, odam)
        for box, error in enumerate(errors):
            own = {name: None if error else every[box] for name, every in values.items()}
            rows.append({"method": tool.name, "image_id": scene.name, "annotation_id": str(box), "error": error, **own})
    return rows


def time_in_turns(tools: Sequence[Tool], scene: Scene, failed: set[str], repeats: int) -> dict[str, float]:
    """Seconds a map, for each tool that doesn't fail on an image."""
    works = {tool.name: (lambda tool=tool: tool.explain(scene)) for tool in tools if tool.name not in failed}
    taken = benchmarking.timed_in_turns(works, repeats, 0, time.process_time)
    return {name: row["seconds"] / len(scene) for name, row in taken.items()}


def measure(args: argparse.Namespace) -> benchmarking.Figures:
    """All rows of the comparison, as they go to JSON."""
    subject = build_subject(args)
    scenes, images = read_scenes(args, subject)
    strides = subject.strides(scenes[0].canvas)
    tools, missing = build_tools(subject, strides)
    rows: list[dict[str, Any]] = []
    per_image: list[dict[str, Any]] = []
    for number, scene in enumerate(tqdm(scenes, desc="images")):
        # Its maps are measured; for the clock it is the warm-up.
        first = explain_by_all(tools, scene)
        rows += first
        if number < (args.timed_images or len(scenes)):
            failed = {row["method"] for row in first if row["error"]}
            seconds = time_in_turns(tools, scene, failed, args.repeats)
            per_image.append({"image": Path(scene.name).name, "boxes": len(scene), "seconds_a_map": seconds})
    return {
        "images": images,
        "images_with_boxes": len(scenes),
        "boxes": sum(map(len, scenes)),
        "detector": type(subject.net).__name__,
        "layers": dict(zip(subject.layers, strides, strict=True)),
        "missing": missing,
        "rows": {tool.name: summarise(tool, rows, per_image) for tool in tools},
        "per_image": per_image,
        "per_box": [{**row, "image_id": Path(row["image_id"]).name} for row in rows],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark and returns its exit code."""
    return benchmarking.run_benchmark(argument_parser(), measure, table, argv)


if __name__ == "__main__":
    sys.exit(main())
