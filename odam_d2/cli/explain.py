"""Explains what a detector finds in images: overlays, heat maps as arrays, and a report for the browser.

    odam explain --config-file synthetic/faster_rcnn_compact_FPN --input images/ --output output/images
    odam explain --config-file my.yaml --input 'val/*.jpg' --annotations val.json --output out MODEL.WEIGHTS my.pth

Exit code: 0, also without a detection; 1 if an image or the set-up failed; 2 if an argument is wrong.
"""

import argparse
import datetime
import sys
import time
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.structures import Instances
from PIL import Image
from tqdm import tqdm

from ..data.coco import CocoFile
from ..data.image_account import ImageAccount
from ..data.image_files import DRAWINGS, HEATMAPS, find_images
from ..data.images import read_with_remarks
from ..data.inputs import InputMaker
from ..env import collect_versions
from ..explain import Explainer, build_explainer
from ..explain.reachable import reachable_rows
from ..modeling.num_classes import count_classes
from ..modeling.provenance import UnreachedBoxError
from ..utils.files import OutputError, atomic_write, distinct_names, safe_name, write_json
from ..utils.words import printable
from ..visualize.drawing import draw_attribute_panel, draw_detections
from ..visualize.ground_truth import Annotation, annotations_of, to_instances
from ..visualize.report import failure_entry, image_entry, write_report
from ..visualize.storage import class_name, save_heatmaps
from .annotated import ImageAnnotations, add_strict, for_json, for_page
from .arguments import (
    add_config,
    add_input,
    add_output_folder,
    command_parser,
    count,
    failure,
    finite,
    option,
    opts_after_input,
    share,
    typed_command,
    whole,
)
from .config import read_run_config
from .finished_images import FOLDER, Finished, FinishedImages, names_in_report, settings_of

JPEG_QUALITY = 90
OUR_FILES = (*DRAWINGS[HEATMAPS], HEATMAPS)
MOST_WAITING = 4


def argument_parser() -> argparse.ArgumentParser:
    """The command line; what it doesn't give comes from the config's node ``ODAM``."""
    parser = command_parser("explain", __doc__)
    add = parser.add_argument
    add_config(parser)
    add_input(parser)
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
    add("--resume", action="store_true", help="keep the finished images in --output and explain the others")
    return parser


def folder_names(paths: Sequence[Path], output: Path) -> list[str]:
    """A folder name for each image: its stem, numbered where several images share it (``cat``, ``cat-2``).

    Args:
        paths: the images.
        output: where the folders go. Names of files there, and of folders that hold any of the images, are taken.
    """
    taken = {"report.html", "run.json", FOLDER}
    if output.is_dir():
        inside = output.resolve()
        above = {folder for parent in {path.parent.resolve() for path in paths} for folder in (parent, *parent.parents)}
        taken |= {folder.name for folder in above if folder.parent == inside}
        taken |= {one.name for one in output.iterdir() if not one.is_dir()}
    return distinct_names((path.stem for path in paths), taken=taken)


class ImageExplainer:
    """Explains an image, and writes its files and its entry of the report.

    Args:
        explainer: what explains.
        make_input: makes the detector's input of an image.
        annotations: the annotated boxes, if there are some.
        class_names: by the detector's numbers.
        args: the command line.
    """

    def __init__(
        self,
        explainer: Explainer,
        make_input: InputMaker,
        annotations: ImageAnnotations | None,
        class_names: Sequence[str],
        args: argparse.Namespace,
    ):
        self.explainer, self.annotations, self.class_names, self.args = explainer, annotations, class_names, args
        self.make_input = make_input

    def explain(self, path: Path) -> tuple[np.ndarray, Instances, list[Annotation] | None, list[str]]:
        """Explains one image.

        Returns:
            The image (h, w, 3) uint8 RGB, what was explained in it, its annotated objects where they are known, and
            what reading it did that its owner may not expect.
        """
        image, remarks = read_with_remarks(path)
        height, width = image.shape[:2]
        record = self.annotations.of(path, height, width) if self.annotations else None
        truth = None if record is None else annotations_of(record, self.class_names)
        instances = self._explain(image, path, truth)
        return np.ascontiguousarray(image[:, :, ::-1]), instances, truth, remarks

    def write(
        self,
        path: Path,
        name: str,
        folder: Path,
        rgb: np.ndarray,
        instances: Instances,
        truth: list[Annotation] | None,
    ) -> tuple[dict[str, Any], list[str]]:
        """Writes the files of an image that was explained, and removes those that an earlier run wrote.

        Args:
            path: the image.
            name: what the report calls it.
            folder: where its files go.
            rgb: see :meth:`explain`, as the next two.
            instances: what was explained.
            truth: its annotated objects.

        Returns:
            Its entry in the report, and the names of its files.

        Raises:
            OutputError: if they can't be written; those of an earlier run then stay.
        """
        written = [HEATMAPS, "overlay.jpg"]
        save_heatmaps(folder / HEATMAPS, instances, self.class_names, str(path))
        _save_jpeg(folder / "overlay.jpg", draw_detections(rgb, instances, self.class_names, rgb=True))
        best = instances.scores.argsort(descending=True, stable=True)[: self.args.strips]
        for k in sorted(best.tolist()):
            label, score = int(instances.pred_classes[k]), float(instances.scores[k])
            safe = safe_name(class_name(label, self.class_names)).replace(" ", "_")
            strip = draw_attribute_panel(rgb, instances, k, class_names=self.class_names, rgb=True)
            written.append(f"det_{k:03d}_{safe}_{score:.2f}.jpg")
            _save_jpeg(folder / written[-1], strip)
        remove_old_files(folder, written)
        judge = self.args.explain == "detections"
        return image_entry(name, rgb, instances, self.class_names, truth, judge, rgb=True), written

    def _explain(self, image, path, truth):
        entry = self.make_input(image)
        if self.args.explain == "annotations":
            return self._explain_annotated(entry, path, to_instances(truth or (), *image.shape[:2])).to("cpu")
        (result,) = self.explainer([entry], None)
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
    args = opts_after_input(parser.parse_args(argv))
    if args.explain == "annotations" and not args.annotations:
        parser.error("--explain annotations needs --annotations")
    output = Path(args.output)
    try:
        images = find_images(args.input, output)
        account = ImageAccount(len(images.paths), images.left_out)
        config = read_run_config(args, args.score_threshold, args.max_detections)
        given = {name: getattr(args, name) for name in ("method", "attributes", "engine", "layer", "smoothing")}
        options = config.explainer_options(**given) | dict(args.method_options)
        model = config.build()
        class_names = config.class_names(model)
        annotations = None
        if args.annotations:
            file = CocoFile(args.annotations, class_names, count_classes(model))
            annotations = ImageAnnotations(file, images.paths, args.strict)
            if args.explain == "annotations":
                annotations.require_classes()
        class_names = annotations.class_names if annotations else class_names or ()
        try:
            explainer = build_explainer(model, **options)
        except (ValueError, TypeError) as error:
            parser.error(str(error))
        config.load_weights(model)
        folders = dict(zip(folder_names(images.paths, output), images.paths, strict=True))
        finished = FinishedImages(output)
        finished.start(settings_of(args, config, options, class_names), args.resume, folders)
    except (ValueError, ImportError, OSError) as error:
        return failure(error)

    for line in account.left_out_lines():
        print(line)
    run = {
        "method": options["method"],
        "method_options": dict(args.method_options),
        "explained": args.explain,
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": typed_command("explain", argv),
        "config_file": args.config_file,
        "weights": config.weights,
        "architecture": config.architecture,
        "device": config.device,
        "attributes": list(explainer.attributes),
        **{name: options.get(name) for name in ("engine", "layer", "group_norm", "smoothing")},
        "score_threshold": args.score_threshold,
        "max_detections": args.max_detections,
        "input": args.input,
        "annotations": args.annotations,
    }
    start = time.perf_counter()
    explain = ImageExplainer(explainer, config.make_input(), annotations, class_names, args)
    try:
        explained, failures, failed = explain_all(explain, folders, finished, account)
    except OutputError as error:
        return failure(error)
    judged = annotations.account if annotations else None
    run, versions = {**run, "seconds": round(time.perf_counter() - start, 1)}, collect_versions()
    report = output / "report.html"
    annotated = args.explain == "annotations"
    facts = {"image files": account.facts()} if account.facts() else {}
    try:
        write_report(
            report,
            finished.entries(names_in_report(folders), failed),
            explainer.attributes,
            {**run, **facts, **for_page(judged), "versions": versions},
            noun="annotated box" if annotated else "detection",
            empty="No annotated boxes in these images." if annotated
            else f"No detections: nothing in these images scored {args.score_threshold:g} or more.",
        )  # fmt: skip
        outcome = {"images": explained, "failures": failures, "image_files": account.as_json()}
        write_json(output / "run.json", {**run, "versions": versions, **outcome, **for_json(judged)})
    except OutputError as error:
        return failure(error)
    for line in account.remark_lines():
        print(line)
    if annotations:
        annotations.tell_rest()
    boxes = sum(image["detections"] for image in explained)
    print(f"Report: {printable(report.resolve())}")
    print(f"{len(folders)} images, {boxes} {'annotated boxes' if annotated else 'detections'}, {len(failures)} failed")
    return 1 if failures else 0


def explain_all(
    explain: ImageExplainer, folders: Mapping[str, Path], finished: FinishedImages, account: ImageAccount
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Explains every image that isn't finished; one that fails is reported and the others are still explained.

    While one image is explained, a thread writes the files of those before it.

    Args:
        explain: what explains.
        folders: name of each image's folder -> the image.
        finished: knows those that are finished, and keeps the others.
        account: gets the remarks on images.

    Returns:
        For run.json what was done and what failed; entries of the report for what failed, by folder.

    Raises:
        OutputError: if the files of an image can't be written; nothing is explained after it.
    """
    done: dict[str, Finished] = {}
    failures, failed = [], {}
    waiting: deque[tuple[str, Future]] = deque()
    names = names_in_report(folders)

    def write(folder: str, rgb: np.ndarray, instances: Instances, truth: Any, remarks: list[str]) -> Finished:
        where = (folders[folder], names[folder], finished.output / folder)
        entry, written = explain.write(*where, rgb, instances, truth)
        finished.keep(folder, entry, written, remarks)
        return Finished(len(entry["detections"]), remarks)

    def finish(folder: str, written: Future) -> None:
        try:
            done[folder] = written.result()
        except OutputError:
            raise
        except Exception as error:
            reason = str(error) or type(error).__name__
            tqdm.write(f"failed: {printable(folders[folder])}: {printable(reason)}", file=sys.stderr)
            remove_old_files(finished.output / folder)
            failed[folder] = failure_entry(names[folder], printable(reason))
            failure = {"file": str(folders[folder]), "error": reason, "type": type(error).__name__}
            if not isinstance(error, ValueError | FloatingPointError | OSError):
                failure["traceback"] = "".join(traceback.format_exception(error))
            failures.append(failure)
        progress.update()

    with ThreadPoolExecutor(1) as writer, tqdm(total=len(folders), desc="explaining", unit="image") as progress:
        for folder, path in folders.items():
            known = finished.find(folder)
            if known is not None:
                done[folder] = known
                progress.update()
                continue
            try:
                written = writer.submit(write, folder, *explain.explain(path))
            except Exception as error:
                written = Future()
                written.set_exception(error)
            waiting.append((folder, written))
            # Images wait in memory; with more than this, writing is the bottleneck.
            while len(waiting) > MOST_WAITING:
                finish(*waiting.popleft())
        while waiting:
            finish(*waiting.popleft())
    images = []
    for folder, path in folders.items():
        if folder in done:
            images.append({"file": str(path), "folder": folder, "detections": done[folder].boxes})
            account.remark(path, done[folder].remarks)
    return images, failures, failed


def remove_old_files(folder: Path, but: Sequence[str] = ()) -> None:
    """Removes what an earlier run wrote for an image, and nothing else; the files called `but` stay."""
    for pattern in OUR_FILES:
        for old in folder.glob(pattern):
            if old.name not in but:
                old.unlink()
