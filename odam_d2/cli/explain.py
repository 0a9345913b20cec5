"""Explains what a detector finds in images: overlays, heat maps as arrays, and a report for the browser.

    odam explain --config-file synthetic/faster_rcnn_compact_FPN --input images/ --output output/images
    odam explain --config-file my.yaml --input 'val/*.jpg' --annotations val.json --output out MODEL.WEIGHTS my.pth

Exit code: 0, also without a detection; 1 if an image or the set-up failed; 2 if an argument is wrong.
"""

import argparse
import datetime
import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.structures import Instances
from PIL import Image
from tqdm import tqdm

from ..data.coco import CocoFile
from ..data.images import find_images, read_image_bgr
from ..data.inputs import InputMaker
from ..env import collect_versions
from ..explain import Explainer, build_explainer, explainer_options
from ..explain.reachable import reachable_rows
from ..modeling.class_names import known_class_names
from ..modeling.num_classes import count_classes
from ..modeling.provenance import UnreachedBoxError
from ..utils.checkpoint import load_checkpoint_strictly
from ..utils.files import atomic_write, distinct_names, safe_name, write_json
from ..visualize.drawing import draw_attribute_panel, draw_detections
from ..visualize.ground_truth import Annotation, annotations_of, to_instances
from ..visualize.report import failure_entry, image_entry, write_report
from ..visualize.storage import class_name, save_heatmaps
from .annotated import ImageAnnotations, add_strict, for_json, for_page
from .arguments import (
    add_config,
    add_output_folder,
    command_parser,
    count,
    failure,
    finite,
    option,
    share,
    typed_command,
    whole,
)
from .config import build_detector, read_run_config

JPEG_QUALITY = 90
OUR_FILES = ("overlay.jpg", "heatmaps.npz", "det_*.jpg")
MOST_WAITING = 4


def argument_parser() -> argparse.ArgumentParser:
    """The command line; what it doesn't give comes from the config's node ``ODAM``."""
    parser = command_parser("explain", __doc__)
    add = parser.add_argument
    add_config(parser)
    add("--input", required=True, help="an image, a folder of images, or a quoted glob pattern")
    add_output_folder(parser)
    add("--annotations", metavar="JSON", help="COCO file with annotated boxes, shown and compared in the report")
    add_strict(parser)
    add("--explain", choices=("detections", "annotations"), default="detections",
        help="which boxes to explain (default: detections)")  # fmt: skip
    add("--attributes", nargs="+", metavar="NAME", help="what to explain of each box (default: ODAM.ATTRIBUTES)")
    add("--method", help="how to explain (default: ODAM.METHOD)")
    add("--method-option", dest="method_options", type=option, action="append", default=[], metavar="NAME=VALUE",
        help="an option of the method, e.g. num_masks=500 for drise; may be repeated")  # fmt: skip
    add("--engine", help="gradient engine, or auto (default: ODAM.ENGINE)")
    add(
        "--layer",
        metavar="PATH",
        help="module whose features are explained (default: ODAM.LAYER, else each detection's feature level)",
    )
    add(
        "--smoothing",
        type=finite,
        metavar="F",
        help="width of the gradient smoothing, as a share of the box (default: ODAM.SMOOTHING)",
    )
    add("--score-threshold", type=share, default=0.5, metavar="S",
        help="lowest score of a detection, in [0, 1] (default: 0.5)")  # fmt: skip
    add("--max-detections", type=count, default=100, metavar="N",
        help="most boxes to explain in an image (default: 100)")  # fmt: skip
    add("--strips", type=whole, default=3, metavar="N",
        help="draw all maps of the N best boxes of each image side by side, as files; the report has those of every "
        "box (default: 3)")  # fmt: skip
    return parser


def folder_names(paths: Sequence[Path]) -> list[str]:
    """A folder name for each image: its stem, numbered where several images share it (``cat``, ``cat-2``)."""
    return distinct_names((path.stem for path in paths), taken=("report.html", "run.json"))


class ImageExplainer:
    """Explains an image, and writes its files and its entry of the report.

    Args:
        explainer: what explains.
        cfg: the config of its detector.
        annotations: the annotated boxes, if there are some.
        class_names: by the detector's numbers.
        args: the command line.
    """

    def __init__(
        self,
        explainer: Explainer,
        cfg: CfgNode,
        annotations: ImageAnnotations | None,
        class_names: Sequence[str],
        args: argparse.Namespace,
    ):
        self.explainer, self.annotations, self.class_names, self.args = explainer, annotations, class_names, args
        self.make_input = InputMaker.from_config(cfg)

    def explain(self, path: Path) -> tuple[np.ndarray, Instances, list[Annotation] | None]:
        """Explains one image.

        Returns:
            The image (h, w, 3) uint8 RGB, what was explained in it, and its annotated objects where they are known.
        """
        image = read_image_bgr(path)
        height, width = image.shape[:2]
        record = self.annotations.of(path, height, width) if self.annotations else None
        truth = None if record is None else annotations_of(record, self.class_names)
        instances = self._explain(image, path, truth)
        return np.ascontiguousarray(image[:, :, ::-1]), instances, truth

    def write(
        self,
        path: Path,
        name: str,
        folder: Path,
        rgb: np.ndarray,
        instances: Instances,
        truth: list[Annotation] | None,
    ) -> dict[str, Any]:
        """Writes the files of an image that was explained.

        Args:
            path: the image.
            name: what the report calls it.
            folder: where its files go.
            rgb: see :meth:`explain`, as the next two.
            instances: what was explained.
            truth: its annotated objects.

        Returns:
            Its entry in the report.
        """
        save_heatmaps(folder / "heatmaps.npz", instances, self.class_names, str(path))
        _save_jpeg(folder / "overlay.jpg", draw_detections(rgb, instances, self.class_names, rgb=True))
        best = instances.scores.argsort(descending=True, stable=True)[: self.args.strips]
        for k in sorted(best.tolist()):
            label, score = int(instances.pred_classes[k]), float(instances.scores[k])
            safe = safe_name(class_name(label, self.class_names)).replace(" ", "_")
            strip = draw_attribute_panel(rgb, instances, k, class_names=self.class_names, rgb=True)
            _save_jpeg(folder / f"det_{k:03d}_{safe}_{score:.2f}.jpg", strip)
        judge = self.args.explain == "detections"
        return image_entry(name, rgb, instances, self.class_names, truth, judge, rgb=True)

    def _explain(self, image, path, truth):
        entry = self.make_input(image)
        if self.args.explain == "annotations":
            return self._explain_annotated(entry, path, to_instances(truth or (), *image.shape[:2])).to("cpu")
        (result,) = self.explainer([entry])
        instances = result["instances"]
        return instances[instances.scores >= self.args.score_threshold][: self.args.max_detections].to("cpu")

    def _explain_annotated(self, entry: dict, path: Path, boxes: Instances) -> Instances:
        assert self.annotations is not None  # the command line makes sure of it
        self.annotations.require_any(path.name)
        boxes = boxes[: self.args.max_detections]
        try:
            (result,) = self.explainer([entry], [boxes])
        except UnreachedBoxError:
            if self.args.strict:
                raise
            rows = reachable_rows(self.explainer, entry, boxes)
            unreached = [row for row in range(len(boxes)) if row not in rows]
            self.annotations.left_out_unreached(path.name, boxes.gt_boxes.tensor[unreached].tolist())
            (result,) = self.explainer([entry], [boxes[rows]])
        return result["instances"]


def _save_jpeg(path: Path, image: np.ndarray) -> None:
    with atomic_write(path, "wb") as handle:
        Image.fromarray(image).save(handle, "JPEG", quality=JPEG_QUALITY)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code; a wrong argument raises SystemExit(2) as argparse does."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argument_parser()
    args = parser.parse_args(argv)
    if args.explain == "annotations" and not args.annotations:
        parser.error("--explain annotations needs --annotations")
    output = Path(args.output)
    try:
        paths = find_images(args.input)
        cfg = read_run_config(args.config_file, args.opts, args.score_threshold, args.max_detections, args.imports)
        given = {name: getattr(args, name) for name in ("method", "attributes", "engine", "layer", "smoothing")}
        options = explainer_options(cfg, **given) | dict(args.method_options)
        model = build_detector(cfg)
        class_names = known_class_names(cfg, model)
        annotations = None
        if args.annotations:
            file = CocoFile(args.annotations, class_names, count_classes(model))
            annotations = ImageAnnotations(file, paths, args.strict)
            if args.explain == "annotations":
                annotations.require_classes()
        class_names = annotations.class_names if annotations else class_names or ()
        try:
            explainer = build_explainer(model, **options)
        except (ValueError, TypeError) as error:
            parser.error(str(error))
        load_checkpoint_strictly(model, cfg.MODEL.WEIGHTS)
        output.mkdir(parents=True, exist_ok=True)
    except (ValueError, ImportError, OSError) as error:
        return failure(error)

    run = {
        "method": options["method"],
        "method_options": dict(args.method_options),
        "explained": args.explain,
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": typed_command("explain", argv),
        "config_file": args.config_file,
        "weights": cfg.MODEL.WEIGHTS,
        "architecture": cfg.MODEL.META_ARCHITECTURE,
        "device": cfg.MODEL.DEVICE,
        "attributes": list(explainer.attributes),
        **{name: options.get(name) for name in ("engine", "layer", "group_norm", "smoothing")},
        "score_threshold": args.score_threshold,
        "max_detections": args.max_detections,
        "input": args.input,
        "annotations": args.annotations,
    }
    start = time.perf_counter()
    explain = ImageExplainer(explainer, cfg, annotations, class_names, args)
    entries, images, failures = explain_all(explain, paths, output)
    account = annotations.account if annotations else None
    run = {**run, "seconds": round(time.perf_counter() - start, 1), "versions": collect_versions()}
    report = output / "report.html"
    annotated = args.explain == "annotations"
    write_report(
        report,
        entries,
        explainer.attributes,
        {**run, **for_page(account)},
        noun="annotated box" if annotated else "detection",
        empty="No annotated boxes in these images." if annotated
        else f"No detections: nothing in these images scored {args.score_threshold:g} or more.",
    )  # fmt: skip
    write_json(output / "run.json", {**run, **for_json(account), "images": images, "failures": failures})
    if annotations:
        annotations.tell_rest()
    boxes = sum(image["detections"] for image in images)
    print(f"Report: {report.resolve()}")
    print(f"{len(paths)} images, {boxes} {'annotated boxes' if annotated else 'detections'}, {len(failures)} failed")
    return 1 if failures else 0


def explain_all(
    explain: ImageExplainer, paths: Sequence[Path], output: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Explains every image; one that fails is reported and the others are still explained.

    While one image is explained, a thread writes the files of those before it.

    Returns:
        Entries for the report, and for run.json what was done and what failed.
    """
    root = os.path.commonpath([p.resolve().parent for p in paths])
    entries, images, failures = [], [], []
    waiting: deque[tuple[Path, str, str, Future]] = deque()

    def finish(path: Path, name: str, folder: str, written: Future) -> None:
        try:
            entry = written.result()
        except Exception as error:
            reason = str(error) or type(error).__name__
            tqdm.write(f"failed: {path}: {reason}", file=sys.stderr)
            entry = failure_entry(name, reason)
            failure = {"file": str(path), "error": reason, "type": type(error).__name__}
            if not isinstance(error, ValueError | FloatingPointError | OSError):
                failure["traceback"] = "".join(traceback.format_exception(error))
            failures.append(failure)
        else:
            images.append({"file": str(path), "folder": folder, "detections": len(entry["detections"])})
        entries.append(entry)
        progress.update()

    with ThreadPoolExecutor(1) as writer, tqdm(total=len(paths), desc="explaining", unit="image") as progress:
        for path, folder in zip(paths, folder_names(paths), strict=True):
            name = os.path.relpath(path.resolve(), root)
            remove_old_files(output / folder)
            try:
                written = writer.submit(explain.write, path, name, output / folder, *explain.explain(path))
            except Exception as error:
                written = Future()
                written.set_exception(error)
            waiting.append((path, name, folder, written))
            # Images wait in memory; with more than this, writing is the bottleneck.
            while len(waiting) > MOST_WAITING:
                finish(*waiting.popleft())
        while waiting:
            finish(*waiting.popleft())
    return entries, images, failures


def remove_old_files(folder: Path) -> None:
    """Removes what an earlier run wrote for an image, and nothing else."""
    for pattern in OUR_FILES:
        for old in folder.glob(pattern):
            old.unlink()
