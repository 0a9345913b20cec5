"""What ``odam evaluate`` works with, built from its command line: the detector, methods, images and metrics."""

import argparse
import inspect
from functools import cached_property
from typing import Any

from ..evaluation import METRICS, Measuring
from ..evaluation.metrics.candidates import object_scorer
from ..evaluation.runs.timing import TimedComparison
from ..explain import METHODS, MethodComparison
from ..modeling import inference_copy
from .annotated import add_strict
from .arguments import (
    add_config,
    add_output_folder,
    add_processes,
    add_seed,
    command_parser,
    count,
    option_of,
    overlap,
    share,
)
from .data_run import DataRun

# Measured on request only: it changes from run to run and makes a run longer.
ON_REQUEST = ("runtime",)


def measuring_argument_parser(description: str | None = None) -> argparse.ArgumentParser:
    """The command line of ``odam evaluate``, which finished runs keep and :class:`MeasuredRun` reads.

    Args:
        description: what the help begins with, its lines kept.
    """
    parser = command_parser("evaluate", description)
    add = parser.add_argument
    add_config(parser)
    add("--dataset", metavar="NAME", help="a registered data set; otherwise give --annotations and --images")
    add("--annotations", metavar="JSON", help="COCO file")
    add("--images", metavar="DIR", help="folder of its images")
    add_strict(parser)
    add("--methods", nargs="+", default=["odam"], choices=sorted(METHODS), metavar="NAME",
        help="; ".join(sorted(METHODS)) + " (default: odam)")  # fmt: skip
    add("--method-option", dest="method_options", type=option_of(METHODS), action="append", default=[],
        metavar="METHOD.NAME=VALUE", help="e.g. drise.num_masks=500; may be repeated")  # fmt: skip
    add("--metrics", nargs="+", choices=list(METRICS), metavar="NAME",
        default=[name for name in METRICS if name not in ON_REQUEST],
        help="; ".join(METRICS) + f" (default: all but {', '.join(ON_REQUEST)})")  # fmt: skip
    add("--attribute", default="score", help="the attribute whose maps are measured (default: score)")
    add("--iou-threshold", type=overlap, default=0.9, metavar="T",
        help="IoU that a detection and its object must exceed (default: 0.9, as published)")  # fmt: skip
    add("--score-threshold", type=share, default=0.5, metavar="S", help="lowest score of a detection (default: 0.5)")
    add("--max-detections", type=count, default=100, metavar="N", help="most detections of an image (default: 100)")
    add("--max-images", type=count, metavar="N", help="the first N images (default: all)")
    add("--sanity", type=count, nargs="?", const=4, metavar="N",
        help="also randomise the detector layer by layer and check that the maps of N images change "
        "(default N: 4; the first images with matched objects)")  # fmt: skip
    add("--amp", action="store_true",
        help="score changed images (drise, deletion, insertion) in mixed precision: about two thirds of the time, "
        "means change by thousandths; detections and gradients stay in single precision")  # fmt: skip
    add_seed(parser, "noise, masks and error bars")
    add_output_folder(parser)
    add("--resume", action="store_true", help="keep the finished images in --output and measure the others")
    add_processes(parser)
    return parser


class MeasuredRun(DataRun):
    """What a run works with; every process builds its own from the command line.

    Raises:
        ValueError: by the first attribute that can't be made.
    """

    @cached_property
    def methods(self) -> dict[str, dict[str, Any]]:
        """Method -> options. Masks are seeded, and methods show no progress bars of their own."""
        chosen: dict[str, dict[str, Any]] = {}
        for name in self.args.methods:
            own = {"seed": self.args.seed, "amp": self.args.amp, "progress": False}
            known = inspect.signature(METHODS[name]).parameters
            chosen[name] = {key: value for key, value in own.items() if key in known}
        for name, option, value in self.args.method_options:
            if name not in chosen:
                raise ValueError(f"`--method-option` must be for one of --methods; got {name!r}: add it there")
            chosen[name][option] = value
        return chosen

    @cached_property
    def comparison(self) -> MethodComparison:
        """The explainers; they also measure time if the metric runtime is wanted."""
        try:
            comparison = self.config.comparison(self.model, self.methods, (self.args.attribute,))
        except TypeError as error:
            raise ValueError(str(error)) from error
        return TimedComparison.of(comparison) if "runtime" in self.args.metrics else comparison

    @cached_property
    def measuring(self) -> Measuring:
        """The metrics and what they need."""
        args, score = self.args, None
        changing = [name for name in args.metrics if METRICS[name].needs_detector or METRICS[name].needs_explainer]
        if changing and self.config.make_input().input_format == "YUV-BT.601":
            raise ValueError(
                f"`--metrics` must leave {changing} out for a detector that takes YUV-BT.601; got them: they change "
                "pixels between 0 and 255"
            )
        if any(METRICS[name].needs_detector for name in args.metrics):
            try:
                score = object_scorer(inference_copy(self.model), amp=args.amp)
            except TypeError as error:
                raise ValueError(f"{error}; or leave deletion, insertion, overall and untouched out") from error
        return Measuring(
            tuple(args.metrics), args.iou_threshold, args.attribute, score, args.seed, explain=self.comparison
        )

    def settings(self) -> dict[str, Any]:
        """Everything that results depend on, but not the number of images: a run can be made longer."""
        kept = ("metrics", "attribute", "iou_threshold", "seed", "amp")
        return {**super().settings(), "methods": self.methods, **{name: getattr(self.args, name) for name in kept}}
