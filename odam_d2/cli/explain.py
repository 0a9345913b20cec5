"""Explains what a detector finds in images: overlays, heat maps as arrays, and a report for the browser.

    odam explain --config-file synthetic/faster_rcnn_compact_FPN --input images/ --output output/images
    odam explain --config-file my.yaml --input 'val/*.jpg' --annotations val.json --output out MODEL.WEIGHTS my.pth
    odam explain --config-file my.yaml --video-input street.mp4 --follow 3 --output followed.mp4 MODEL.WEIGHTS my.pth

Exit code: 0, also without a detection; 1 if an image or the set-up failed; 2 if an argument is wrong.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ..utils.processes import ProcessEndedError, is_restart
from .annotated import add_strict
from .arguments import (
    WrongOptionError,
    add_config,
    add_processes,
    add_single_file,
    command_parser,
    count,
    failure,
    finite,
    option,
    opts_after_input,
    process_plan,
    share,
    typed_command,
    whole,
)
from .explain_images import explain_in_process, explain_share
from .explain_run import ExplainRun
from .report_files import require_few
from .sources import add_source, add_video_options, wrong_source


def argument_parser() -> argparse.ArgumentParser:
    """The command line; what it doesn't give comes from the config's node ``ODAM``."""
    parser = command_parser("explain", __doc__)
    add = parser.add_argument
    add_config(parser)
    add_source(parser)
    add_video_options(parser)
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
    add_single_file(parser)
    add(
        "--resume",
        action="store_true",
        help="keep the finished images in --output, or frames of the video, and explain the others",
    )
    add_processes(parser)
    return parser


def explain_moving(args: argparse.Namespace, parser: argparse.ArgumentParser, command: str) -> int:
    """Explains a video or what a camera sees, and returns the exit code."""
    # Here, since it needs OpenCV, which images don't.
    from .explain_video import explain_video
    from .explain_webcam import explain_webcam

    try:
        return explain_webcam(args) if args.webcam else explain_video(args, command)
    except WrongOptionError as error:
        parser.error(str(error))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code; a wrong argument raises SystemExit(2) as argparse does."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argument_parser()
    args = opts_after_input(parser.parse_args(argv))
    if args.explain == "annotations" and not args.annotations:
        parser.error("--explain annotations needs --annotations")
    if wrong := wrong_source(args):
        parser.error(wrong)
    try:
        if not args.input:
            return explain_moving(args, parser, typed_command("explain", argv))
        # What is wrong shows here, before processes start.
        setup = ExplainRun(args)
        setup.tell()
        try:
            require_few(len(setup.images.paths), args.single_file, "name fewer")
            plan, _ = process_plan(args, setup.config.device), setup.explainer
        except WrongOptionError as error:
            parser.error(str(error))
        folders = setup.folders()
        if plan.is_first:
            setup.start(folders, args.resume or is_restart())
        command = typed_command("explain", argv)
        if plan.is_alone:
            explain_share(setup, command, folders)
        else:
            plan.run(explain_in_process, (args, command, folders))
    except (ValueError, ImportError, OSError, ProcessEndedError) as error:
        return failure(error)
    if not plan.is_first:
        return 0
    return 1 if json.loads((Path(args.output) / "run.json").read_text(encoding="utf-8"))["failures"] else 0
