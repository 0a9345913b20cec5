"""Explains what a detector finds in images: overlays, heat maps as arrays, and a report for the browser.

    odam explain --config-file synthetic/faster_rcnn_compact_FPN --input images/ --output output/images
    odam explain --config-file my.yaml --input 'val/*.jpg' --annotations val.json --output out MODEL.WEIGHTS my.pth

Exit code: 0, also without a detection; 1 if an image or the set-up failed; 2 if an argument is wrong.
"""

import argparse
import datetime
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..data.coco import CocoFile
from ..data.image_account import ImageAccount
from ..data.image_files import find_images
from ..env import collect_versions
from ..explain import build_explainer
from ..modeling.num_classes import count_classes
from ..store import RunReader
from ..store.parts import FOLDER, DamagedPartError
from ..utils.files import OutputError, distinct_names, write_json
from ..utils.words import printable
from ..visualize.report import write_report
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
from .explain_images import explain_all
from .finished_images import FinishedImages, settings_of
from .image_explainer import ImageExplainer


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
    taken = {"report.html", "report", "run.json", FOLDER, "resume"}
    if output.is_dir():
        inside = output.resolve()
        above = {folder for parent in {path.parent.resolve() for path in paths} for folder in (parent, *parent.parents)}
        taken |= {folder.name for folder in above if folder.parent == inside}
        taken |= {one.name for one in output.iterdir() if not one.is_dir()}
    return distinct_names((path.stem for path in paths), taken=taken)


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
        finished.start(settings_of(args, config, model, options, class_names), args.resume, folders)
    except (ValueError, ImportError, OSError) as error:
        return failure(error)

    for line in (*account.left_out_lines(), *finished.run.set_aside):
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
    explain = ImageExplainer(explainer, options["method"], config.make_input(), annotations, class_names, args)
    try:
        explained, failures = explain_all(explain, folders, finished, account)
        facts_of_run = {"method": options["method"], "class_names": list(class_names), "attributes": run["attributes"]}
        with finished.open() as writer:
            writer.put_run(facts_of_run)
        reader = RunReader(output)
    except (OutputError, DamagedPartError) as error:
        return failure(error)
    judged = annotations.account if annotations else None
    run, versions = {**run, "seconds": round(time.perf_counter() - start, 1)}, collect_versions()
    report = output / "report.html"
    annotated = args.explain == "annotations"
    facts = {"image files": account.facts()} if account.facts() else {}
    try:
        write_report(
            report,
            finished.entries(reader),
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
