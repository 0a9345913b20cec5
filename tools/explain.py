#!/usr/bin/env python
"""Explains what a detector finds in pictures: overlays, heat maps to keep, and a report to leaf through.

    tools/explain.py --config-file synthetic/faster_rcnn_compact_FPN --input pictures/ --output output/pictures
    tools/explain.py --config-file my.yaml --input 'val/*.jpg' --annotations val.json --output out MODEL.WEIGHTS my.pth

Exit code: 0, also without a detection; 1 if a picture or the set-up failed; 2 if an argument is wrong.
"""

import argparse
import datetime
import logging
import os
import shlex
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from detectron2.config import CfgNode
from detectron2.data import transforms as T  # noqa: N812  Detectron2's own habit
from PIL import Image
from tqdm import tqdm

import odam_d2.data
import odam_d2.meta_arch
import odam_d2.modeling  # noqa: F401  these three register data sets and detectors
from odam_d2.data.images import find_images, read_image_bgr
from odam_d2.env import collect_versions
from odam_d2.explain import METHODS, Explainer, build_explainer
from odam_d2.model_zoo.runs import build_detector, known_class_names, read_run_config
from odam_d2.utils.checkpoint import load_checkpoint_strictly
from odam_d2.utils.files import atomic_write, distinct_names, safe_name, write_json
from odam_d2.utils.imports import import_file_or_module
from odam_d2.visualize.ground_truth import CocoAnnotations, to_instances
from odam_d2.visualize.overlay import draw_attribute_panel, draw_detections
from odam_d2.visualize.report import failure_entry, picture_entry, write_report
from odam_d2.visualize.storage import class_name, save_heatmaps

JPEG_QUALITY = 90
OUR_FILES = ("overlay.jpg", "heatmaps.npz", "det_*.jpg")


def argument_parser() -> argparse.ArgumentParser:
    """The command line; what isn't given there comes from the config's node ``ODAM``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config-file", required=True, metavar="YAML", help="a yaml file, or a name of the model zoo")
    add("--input", required=True, help="a picture, a folder of pictures, or a quoted glob pattern")
    add("--output", required=True, metavar="DIR", help="folder for the results")
    add("--annotations", metavar="JSON", help="COCO file with annotated boxes, shown and compared in the report")
    add("--explain", choices=("detections", "annotations"), default="detections",
        help="which boxes to explain (default: detections)")  # fmt: skip
    add("--attributes", nargs="+", metavar="NAME", help="what to explain of each box (default: ODAM.ATTRIBUTES)")
    add("--method", help="how to explain (default: ODAM.METHOD)")
    add("--method-option", dest="method_options", type=_option, action="append", default=[], metavar="NAME=VALUE",
        help="an option of the method, e.g. num_masks=500 of drise; may be given several times")  # fmt: skip
    add("--engine", help="gradient engine, or auto (default: ODAM.ENGINE)")
    add("--layer", metavar="PATH", help="module to explain on (default: ODAM.LAYER, each detection's feature level)")
    add("--smoothing", type=float, metavar="F", help="gradient smoothing, share of the box (default: ODAM.SMOOTHING)")
    add("--score-threshold", type=_share, default=0.5, metavar="S",
        help="lowest score of a detection, in [0, 1] (default: 0.5)")  # fmt: skip
    add("--max-detections", type=_count, default=100, metavar="N",
        help="most boxes explained in a picture (default: 100)")  # fmt: skip
    add("--import", dest="imports", action="append", default=[], metavar="FILE_OR_MODULE",
        help="import this before the config is read; may be given several times")  # fmt: skip
    add("opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="changes to the config, at the end")
    return parser


def _share(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"must be in [0, 1]; got {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1; got {text}")
    return value


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals):
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE; got {text!r}")
    return name, yaml.safe_load(value)


def explainer_options(args: argparse.Namespace, cfg: CfgNode) -> dict[str, Any]:
    """What :func:`build_explainer` is called with: an argument where given, else the config's word.

    A method that explains few attributes takes of the config's those that it explains.
    """
    names = ("method", "attributes", "engine", "layer", "smoothing", "group_norm")
    given = {name: getattr(args, name, None) for name in names}
    options = {name: cfg.ODAM[name.upper()] if value is None else value for name, value in given.items()}
    limit = METHODS[options["method"]].explains if options["method"] in METHODS else None
    if limit and args.attributes is None:
        options["attributes"] = [name for name in options["attributes"] if name in limit]
    return options


def folder_names(paths: Sequence[Path]) -> list[str]:
    """A folder name for each picture: its stem, numbered where several pictures share it (``cat``, ``cat-2``)."""
    return distinct_names((path.stem for path in paths), taken=("report.html", "run.json"))


class PictureExplainer:
    """From a picture's path to files in its folder and an entry of the report.

    Args:
        explainer: what explains.
        cfg: the config of its detector.
        annotations: the annotated boxes, where there are some.
        class_names: by the detector's numbers.
        args: the command line.
    """

    def __init__(
        self,
        explainer: Explainer,
        cfg: CfgNode,
        annotations: CocoAnnotations | None,
        class_names: Sequence[str],
        args: argparse.Namespace,
    ):
        self.explainer, self.annotations, self.class_names, self.args = explainer, annotations, class_names, args
        self.rgb = cfg.INPUT.FORMAT == "RGB"
        self.resize = T.ResizeShortestEdge([cfg.INPUT.MIN_SIZE_TEST] * 2, cfg.INPUT.MAX_SIZE_TEST)

    def __call__(self, path: Path, name: str, folder: Path) -> dict[str, Any]:
        """Explains one picture and writes its files.

        Args:
            path: the picture.
            name: what the report calls it.
            folder: where its files go; those of an earlier run are removed first.

        Returns:
            Its entry in the report.
        """
        for pattern in OUR_FILES:
            for old in folder.glob(pattern):
                old.unlink()
        image = read_image_bgr(path)
        height, width = image.shape[:2]
        truth = self.annotations.find(path, height, width) if self.annotations else None
        instances = self._explain(image, path, truth)

        rgb = np.ascontiguousarray(image[:, :, ::-1])
        save_heatmaps(folder / "heatmaps.npz", instances, self.class_names, str(path))
        _save_jpeg(folder / "overlay.jpg", draw_detections(rgb, instances, self.class_names))
        pairs = zip(instances.pred_classes.tolist(), instances.scores.tolist(), strict=True)
        for k, (label, score) in enumerate(pairs):
            safe = safe_name(class_name(label, self.class_names)).replace(" ", "_")
            strip = draw_attribute_panel(rgb, instances, k, class_names=self.class_names)
            _save_jpeg(folder / f"det_{k:03d}_{safe}_{score:.2f}.jpg", strip)
        return picture_entry(name, rgb, instances, self.class_names, truth, judge=self.args.explain == "detections")

    def _explain(self, image, path, truth):
        height, width = image.shape[:2]
        given = None
        if self.args.explain == "annotations":
            if truth is None:
                raise ValueError(
                    f"the annotations must know the picture to explain its boxes; {path.name!r} isn't among them"
                )
            given = [to_instances(truth, height, width)[: self.args.max_detections]]
        pixels = image[:, :, ::-1] if self.rgb else image
        pixels = self.resize.get_transform(pixels).apply_image(pixels)
        tensor = torch.as_tensor(np.ascontiguousarray(pixels.astype(np.float32).transpose(2, 0, 1)))
        (result,) = self.explainer([{"image": tensor, "height": height, "width": width}], given)
        instances = result["instances"]
        if given is None:
            instances = instances[instances.scores >= self.args.score_threshold][: self.args.max_detections]
        return instances.to("cpu")


def _save_jpeg(path: Path, image: np.ndarray) -> None:
    with atomic_write(path, "wb") as handle:
        Image.fromarray(image).save(handle, "JPEG", quality=JPEG_QUALITY)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool and returns its exit code; a wrong argument raises SystemExit(2) as argparse does."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argument_parser()
    args = parser.parse_args(argv)
    if args.explain == "annotations" and not args.annotations:
        parser.error("--explain annotations needs --annotations")
    output = Path(args.output)
    try:
        paths = find_images(args.input)
        for name in args.imports:
            import_file_or_module(name)
        cfg = read_run_config(args.config_file, args.opts, args.score_threshold, args.max_detections)
        options = explainer_options(args, cfg)
        class_names = known_class_names(cfg)
        annotations = CocoAnnotations(args.annotations, class_names) if args.annotations else None
        class_names = annotations.class_names if annotations else class_names or ()
        model = build_detector(cfg)
        try:
            explainer = build_explainer(model, **options, **dict(args.method_options))
        except (ValueError, TypeError) as error:
            parser.error(str(error))
        load_checkpoint_strictly(model, cfg.MODEL.WEIGHTS)
        output.mkdir(parents=True, exist_ok=True)
    except (ValueError, ImportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1

    run = {
        "method": options["method"],
        "method_options": dict(args.method_options),
        "explained": args.explain,
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join(["tools/explain.py", *argv]),
        "config_file": args.config_file,
        "weights": cfg.MODEL.WEIGHTS,
        "architecture": cfg.MODEL.META_ARCHITECTURE,
        "device": cfg.MODEL.DEVICE,
        "attributes": list(explainer.attributes),
        "engine": options["engine"],
        "layer": options["layer"],
        "smoothing": options["smoothing"],
        "score_threshold": args.score_threshold,
        "max_detections": args.max_detections,
        "input": args.input,
        "annotations": args.annotations,
    }
    start = time.perf_counter()
    explain = PictureExplainer(explainer, cfg, annotations, class_names, args)
    entries, pictures, failures = explain_all(explain, paths, output)
    run = {**run, "seconds": round(time.perf_counter() - start, 1), "versions": collect_versions()}
    report = output / "report.html"
    annotated = args.explain == "annotations"
    write_report(
        report,
        entries,
        explainer.attributes,
        run,
        noun="annotated box" if annotated else "detection",
        empty="No annotated boxes in these pictures." if annotated
        else f"No detections: nothing in these pictures scored {args.score_threshold:g} or more.",
    )  # fmt: skip
    write_json(output / "run.json", {**run, "pictures": pictures, "failures": failures})
    boxes = sum(picture["detections"] for picture in pictures)
    print(f"Report: {report.resolve()}")
    print(f"{len(paths)} pictures, {boxes} {'annotated boxes' if annotated else 'detections'}, {len(failures)} failed")
    return 1 if failures else 0


def explain_all(
    explain: PictureExplainer, paths: Sequence[Path], output: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Explains every picture; one that fails is named and the rest goes on.

    Returns:
        Entries for the report, and for run.json what was done and what failed.
    """
    root = os.path.commonpath([p.resolve().parent for p in paths])
    entries, pictures, failures = [], [], []
    for path, folder in zip(tqdm(paths, desc="explaining", unit="picture"), folder_names(paths), strict=True):
        name = os.path.relpath(path.resolve(), root)
        try:
            entry = explain(path, name, output / folder)
        except Exception as error:
            reason = str(error) or type(error).__name__
            tqdm.write(f"failed: {path}: {reason}", file=sys.stderr)
            entry = failure_entry(name, reason)
            failure = {"file": str(path), "error": reason, "type": type(error).__name__}
            if not isinstance(error, ValueError | FloatingPointError | OSError):
                failure["traceback"] = traceback.format_exc()
            failures.append(failure)
        else:
            pictures.append({"file": str(path), "folder": folder, "detections": len(entry["detections"])})
        entries.append(entry)
    return entries, pictures, failures


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    sys.exit(main())
