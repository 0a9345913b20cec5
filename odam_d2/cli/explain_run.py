"""What ``odam explain`` works with, built from its command line: images, detector, annotations and explainer."""

import argparse
import datetime
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..data.coco import CocoFile
from ..data.image_account import ImageAccount
from ..data.image_files import FoundImages, find_images
from ..explain import Explainer, build_explainer
from ..loading import DetectorConfig
from ..modeling.num_classes import count_classes
from ..store.parts import FOLDER
from ..utils.files import distinct_names
from .annotated import ImageAnnotations
from .arguments import WrongOptionError
from .config import read_run_config
from .finished_images import FinishedImages, settings_of
from .image_explainer import ImageExplainer


class ExplainRun:
    """A run of ``odam explain``; every process builds its own from the command line.

    Args:
        args: the command line.
        quiet: whether nothing is printed, since another process does it.

    Raises:
        ValueError: by the first attribute that can't be made.
    """

    def __init__(self, args: argparse.Namespace, quiet: bool = False):
        # What a camera sees may have no output but a window.
        self.args, self.quiet, self.output = args, quiet, Path(args.output or "")

    @cached_property
    def images(self) -> FoundImages:
        """The images, and files that were left out."""
        return find_images(self.args.input, self.output)

    @cached_property
    def account(self) -> ImageAccount:
        """What became of the images."""
        return ImageAccount(len(self.images.paths), self.images.left_out)

    @cached_property
    def config(self) -> DetectorConfig:
        """The detector's config."""
        return read_run_config(self.args, self.args.score_threshold, self.args.max_detections)

    @cached_property
    def options(self) -> dict[str, Any]:
        """How it is explained."""
        return self._options()

    def _options(self) -> dict[str, Any]:
        given = {name: getattr(self.args, name) for name in ("method", "attributes", "engine", "layer", "smoothing")}
        return self.config.explainer_options(**given) | dict(self.args.method_options)

    @cached_property
    def model(self) -> torch.nn.Module:
        """The detector, with its weights once :attr:`explainer` was made."""
        if self.config.device == "cpu" and self.args.num_processes > 1:
            # Sums depend on how many threads share them; processes share images.
            torch.set_num_threads(1)
        return self.config.build()

    @cached_property
    def annotations(self) -> ImageAnnotations | None:
        """The annotated boxes, if there are some."""
        if not self.args.annotations:
            return None
        file = CocoFile(self.args.annotations, self.config.class_names(self.model), count_classes(self.model))
        found = ImageAnnotations(file, self.images.paths, self.args.strict, self.quiet)
        if self.args.explain == "annotations":
            found.require_classes()
        return found

    @cached_property
    def class_names(self) -> Sequence[str]:
        """By the detector's numbers."""
        if self.annotations:
            return self.annotations.class_names
        return self.config.class_names(self.model) or ()

    @cached_property
    def explainer(self) -> Explainer:
        """What explains.

        Raises:
            WrongOptionError: if the options don't go with the detector.
            ValueError: if the weights don't.
        """
        _ = self.annotations  # whose faults are told first
        model, options = self.model, self.options
        try:
            explainer = build_explainer(model, **options)
        except (ValueError, TypeError) as error:
            raise WrongOptionError(str(error)) from error
        self.config.load_weights(self.model)
        return explainer

    def tell(self) -> None:
        """Prints which files are no images."""
        for line in self.account.left_out_lines():
            print(line)

    def folders(self) -> dict[str, Path]:
        """The images by the names of their folders."""
        return dict(zip(folder_names(self.images.paths, self.output), self.images.paths, strict=True))

    def start(self, folders: Mapping[str, Path], resume: bool) -> None:
        """Makes the output ready, see :meth:`FinishedImages.start`, and tells of damaged files."""
        settings = settings_of(self.args, self.config, self.model, self.options, self.class_names)
        for line in FinishedImages(self.output).start(settings, resume, folders):
            print(line, file=sys.stderr)

    def image_explainer(self) -> ImageExplainer:
        """What explains an image and writes its files."""
        made = (self.explainer, self.options["method"], self.config.make_input(), self.annotations)
        return ImageExplainer(*made, self.class_names, self.args)

    def facts(self, command: str) -> dict[str, Any]:
        """What the report and run.json say of the run."""
        args, options = self.args, self.options
        return {
            "method": options["method"],
            "method_options": dict(args.method_options),
            "explained": args.explain,
            "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "command": command,
            "config_file": args.config_file,
            "weights": self.config.weights,
            "architecture": self.config.architecture,
            "device": self.config.device,
            "attributes": list(self.explainer.attributes),
            **{name: options.get(name) for name in ("engine", "layer", "group_norm", "smoothing", "center_prior")},
            "score_threshold": args.score_threshold,
            "max_detections": args.max_detections,
            "input": args.input,
            "annotations": args.annotations,
        }


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
