"""Analyses a detector's mistakes on a data set: which there are, by which mechanism objects are missed, what maps say.

    odam analyze --config-file synthetic/faster_rcnn_compact_FPN --dataset synthetic_scene_val --max-images 50 \\
        --output output/analysis
    odam analyze --config-file my.yaml --annotations coco.json --images val/ --num-processes 2 \\
        --output output/analysis MODEL.WEIGHTS my.pth

In --output: report/index.html with every mistake and its maps; analysis.json and analysis.csv; context.png, whose
detections look at whom; atlas.png, mean maps by class. Without annotations (--images alone) everything but errors.
Finished images are kept there; --resume continues an interrupted run.

Exit code: 0; 1 if an image is missing or failed, or the set-up did; 2 if an argument is wrong.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import __version__
from ..store import RunFolder
from ..utils.processes import ProcessEndedError, is_restart
from .analyze_images import WRITTEN, analyse_in_process, analyse_share
from .analyze_run import AnalysisRun
from .annotated import add_strict, tell
from .arguments import (
    WrongOptionError,
    add_config,
    add_output_folder,
    add_processes,
    add_single_file,
    command_parser,
    count,
    failure,
    finite,
    overlap,
    process_plan,
    share,
    typed_command,
)


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = command_parser("analyze", __doc__)
    add = parser.add_argument
    add_config(parser)
    add("--dataset", metavar="NAME", help="a registered data set; otherwise give --annotations and --images")
    add("--annotations", metavar="JSON", help="COCO file")
    add("--images", metavar="DIR", help="folder of its images; alone, of images without annotations")
    add_strict(parser)
    add("--methods", nargs="+", default=["odam"], metavar="NAME",
        help="the first explains detections, mistakes and misses; others, scores of detections (default: odam)"
    )  # fmt: skip
    add("--attributes", nargs="+", metavar="NAME", help="what to explain of each box (default: ODAM.ATTRIBUTES)")
    add("--iou-threshold", type=overlap, default=0.5, metavar="T",
        help="IoU from which on a detection is at an object's place (default: 0.5)")  # fmt: skip
    add("--score-threshold", type=share, default=0.05, metavar="S", help="lowest score of a detection (default: 0.05)")
    add("--max-detections", type=count, default=100, metavar="N", help="most detections of an image (default: 100)")
    add("--max-images", type=count, metavar="N", help="the first N images (default: all)")
    add("--class", dest="classes", nargs="+", metavar="NAME", help="detections and objects of these classes alone")
    add("--area", type=finite, nargs=2, metavar=("MIN", "MAX"),
        help="objects of these areas in pixels alone; detections of others are ignored (COCO's medium: 1024 9216)"
    )  # fmt: skip
    add("--occlusion", type=share, nargs=2, metavar=("MIN", "MAX"),
        help="objects of which others hide these shares alone, likewise (bare: 0 0.1; heavily hidden: 0.65 1)"
    )  # fmt: skip
    add_single_file(parser)
    add_output_folder(parser)
    add("--resume", action="store_true", help="keep the finished images in --output and analyse the others")
    add_processes(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code; a wrong argument raises SystemExit(2) as argparse does."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argument_parser()
    args = parser.parse_args(argv)
    if bool(args.dataset) == bool(args.images) or (args.annotations and not args.images):
        parser.error("give either --dataset, or --images with or without --annotations")
    setup, command, output = AnalysisRun(args), typed_command("analyze", argv), Path(args.output)
    try:
        # What is wrong shows here, before processes start.
        try:
            plan, _, _ = process_plan(args, setup.config.device), setup.rules, setup.explainers
            setup.require_sizes()  # of records too, which the account is of
        except WrongOptionError as error:
            parser.error(str(error))
        if setup.is_annotated:
            tell(setup.account, args.strict)
        else:
            for line in setup.account_lines():
                print(line)
        settings, _ = {**setup.settings(), "version": __version__}, setup.analyst
        if plan.is_first:
            run = RunFolder(output)
            run.start(settings, args.resume or is_restart(), setup.files(), WRITTEN)
            for line in run.set_aside:
                print(line)
        if plan.is_alone:
            analyse_share(setup, command)
        else:
            plan.run(analyse_in_process, (args, command))
    except (ValueError, ImportError, OSError, ProcessEndedError) as error:
        return failure(error)
    if not plan.is_first:
        return 0
    return 1 if json.loads((output / "analysis.json").read_text(encoding="utf-8"))["failures"] else 0
