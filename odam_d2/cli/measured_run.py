"""What ``odam evaluate`` works with, built from its command line: the detector, methods, images and metrics."""

import argparse
import hashlib
import inspect
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from detectron2.data import MetadataCatalog

from ..data.account import Account
from ..data.coco import CocoFile
from ..data.inputs import ImageInputs
from ..data.records import records_from_dataset
from ..evaluation import METRICS, Measuring
from ..evaluation.metrics.candidates import object_scorer
from ..evaluation.runs.evaluator import image_key
from ..evaluation.runs.timing import TimedComparison
from ..explain import METHODS, MethodComparison
from ..loading import DetectorConfig
from ..model_zoo.addresses import weights_checksum
from ..modeling import inference_copy
from ..modeling.num_classes import count_classes
from ..utils.files import file_checksum
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
from .config import read_run_config

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


@dataclass
class MeasuredRun:
    """What a run works with; every process builds its own from the command line.

    Raises:
        ValueError: by the first attribute that can't be made.
    """

    args: argparse.Namespace

    @cached_property
    def config(self) -> DetectorConfig:
        """The detector's config."""
        config = read_run_config(self.args, self.args.score_threshold, self.args.max_detections)
        if torch.cuda.is_available() and self.args.num_processes > 1:
            config.device = "cpu"
        return config

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
    def model(self) -> torch.nn.Module:
        """The detector with its weights."""
        if self.config.device == "cpu":  # sums depend on how many threads share them; processes share images
            torch.set_num_threads(1)
        model = self.config.build()
        self.config.load_weights(model)
        return model

    @cached_property
    def comparison(self) -> MethodComparison:
        """The explainers; they also measure time if the metric runtime is wanted."""
        try:
            comparison = self.config.comparison(self.model, self.methods, (self.args.attribute,))
        except TypeError as error:
            raise ValueError(str(error)) from error
        return TimedComparison.of(comparison) if "runtime" in self.args.metrics else comparison

    @cached_property
    def class_names(self) -> tuple[str, ...] | None:
        """Names by the detector's numbers, or None where they aren't known."""
        return self.config.class_names(self.model)

    @cached_property
    def shown_names(self) -> tuple[str, ...]:
        """Class names for tables and pages: `class_names`, or else those of the data set."""
        if self.class_names is not None or not self.records:
            return self.class_names or ()
        if self.args.dataset:
            return tuple(MetadataCatalog.get(self.args.dataset).get("thing_classes") or ())
        return self.coco.class_names

    @cached_property
    def num_classes(self) -> int:
        """Number of the detector's classes."""
        number = count_classes(self.model)
        if number is None:
            kind = self.config.architecture
            raise ValueError(
                f"`--config-file` must be of a detector that tells classes apart; got a {kind}, whose regions are of "
                "no class: measure a detector that reads them"
            )
        return number

    @cached_property
    def coco(self) -> CocoFile:
        """The file that --annotations names."""
        return CocoFile(self.args.annotations, self.class_names, self.num_classes, self.args.images)

    @cached_property
    def account(self) -> Account:
        """What becomes of the annotations; whole when `records` are read."""
        return Account(self.args.dataset) if self.args.dataset else self.coco.account

    @cached_property
    def records(self) -> list[dict]:
        """Records of the whole data set."""
        if self.args.dataset:
            return records_from_dataset(self.args.dataset, self.class_names, self.num_classes, self.account)
        return self.coco.known_records()

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

    def inputs(self, records: Sequence[dict]) -> ImageInputs:
        """The detector's inputs for some records."""
        return ImageInputs(records, self.config.make_input())

    def settings(self) -> dict[str, Any]:
        """Everything that results depend on, but not the number of images: a run can be made longer."""
        kept = ("image_id", "height", "width", "annotations")
        records = json.dumps([[record.get(key) for key in kept] for record in self.records], default=str)
        return {
            "config": self.config.text(),
            "weights": weights_checksum(self.config.weights),
            "annotations": hashlib.sha256(records.encode("utf-8")).hexdigest(),
            "imports": [file_checksum(name) if os.path.isfile(name) else name for name in self.args.imports],
            "config_hooks": self.args.config_hooks,
            "class_names": list(self.class_names or ()),
            "methods": self.methods,
            **{name: getattr(self.args, name) for name in ("metrics", "attribute", "iou_threshold", "seed", "amp")},
        }

    def files(self) -> dict[str, str]:
        """Image's key -> name and size of its file, without the folder --images: a run may be resumed elsewhere."""
        return {image_key(record["image_id"]): _file(record["file_name"], self.args.images) for record in self.records}


def _file(path: str, folder: str | None) -> str:
    file = Path(path)
    name = file.name if folder is None or not file.is_relative_to(folder) else file.relative_to(folder).as_posix()
    try:
        return f"{name} ({file.stat().st_size} bytes)"
    except OSError:
        return f"{name} (missing)"
