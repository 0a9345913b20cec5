"""What ``odam analyze`` works with, built from its command line: detector, data, explainers, and what analyses."""

import math
import os
from functools import cached_property
from pathlib import Path
from typing import Any

from ..analysis import ErrorRules
from ..analysis.image_analysis import ImageAnalyst
from ..analysis.misses import MissFinder, MissRules
from ..data.boxes import corners
from ..data.image_account import ImageAccount
from ..data.image_files import FoundImages, find_images
from ..data.occlusion import occlusions
from ..explain import Explainer, build_explainer
from ..visualize.storage import class_name
from .arguments import WrongOptionError
from .data_run import DataRun
from .report_files import require_few


class AnalysisRun(DataRun):
    """A run of ``odam analyze``; every process builds its own from the command line."""

    @property
    def is_annotated(self) -> bool:
        """Whether annotations were given."""
        return bool(self.args.dataset or self.args.annotations)

    @cached_property
    def found_images(self) -> FoundImages:
        """The images that --images means where there are no annotations, and files beside them that are none."""
        return find_images([self.args.images], Path(self.args.output))

    def account_lines(self) -> list[str]:
        """What was left out of the folder of images, in a few lines."""
        return ImageAccount(len(self.found_images.paths), self.found_images.left_out).left_out_lines()

    @cached_property
    def records(self) -> list[dict]:
        """Records of the whole data set; without annotations those of the images alone.

        Raises:
            ValueError: if there is no image, or a class is unknown.
        """
        if not self.is_annotated:
            root, paths = Path(self.args.images), self.found_images.paths
            return [{"file_name": str(path), "image_id": os.path.relpath(path, root)} for path in paths]
        records = super().records
        if not records:
            source = self.args.dataset or self.args.annotations
            raise ValueError(f"the data set must have images; got none in {source!r}: name another one")
        return [self._only_asked(record) for record in records]

    def _only_asked(self, record: dict) -> dict:
        """The record with annotations of what was asked for; of the classes, others are to be ignored."""
        areas, hidden = self.args.area or (0.0, math.inf), self.args.occlusion or (0.0, 1.0)
        if self.classes is None and self.args.area is None and self.args.occlusion is None:
            return record
        kept, annotations = [], record.get("annotations", ())
        # By all annotations, and kept as told: objects of other classes hide those that are asked for.
        for item, occlusion in zip(annotations, occlusions(annotations)):
            if self.classes is not None and item["category_id"] not in self.classes:
                continue
            x1, y1, x2, y2 = corners(item)
            area = item.get("area") or (x2 - x1) * (y2 - y1)
            is_asked = areas[0] <= area <= areas[1] and hidden[0] <= occlusion <= hidden[1]
            told = {**item, "visible_fraction": 1.0 - occlusion}
            kept.append(told if is_asked else {**told, "ignore": 1})
        return {**record, "annotations": kept}

    @cached_property
    def classes(self) -> set[int] | None:
        """Numbers of the classes that are analysed; None for all.

        Raises:
            ValueError: if the detector has no class of a name.
        """
        if self.args.classes is None:
            return None
        names = [class_name(number, self.shown_names) for number in range(self.num_classes)]
        unknown = [name for name in self.args.classes if name not in names]
        if unknown:
            raise ValueError(f"--class must name classes of the detector; got {unknown[0]!r}: choose among {names}")
        return {names.index(name) for name in self.args.classes}

    @cached_property
    def explainers(self) -> dict[str, Explainer]:
        """Method -> explainer; further methods explain what they can of the first one's attributes.

        Raises:
            WrongOptionError: if the options don't go with the detector.
        """
        found: dict[str, Explainer] = {}
        for name in self.args.methods:
            options = self.config.explainer_options(method=name, attributes=self.args.attributes)
            if found:
                options["attributes"] = ("score",)
            try:
                found[name] = build_explainer(self.model, **options)
            except (ValueError, TypeError) as error:
                raise WrongOptionError(str(error)) from error
        if "score" not in next(iter(found.values())).attributes:
            raise WrongOptionError("--attributes must have score among them; got others: add it")
        return found

    @property
    def rules(self) -> ErrorRules:
        """By which numbers detections are judged.

        Raises:
            WrongOptionError: if --iou-threshold is too low.
        """
        try:
            return ErrorRules(self.args.iou_threshold, max_detections=self.args.max_detections)
        except ValueError as error:
            least = ErrorRules().background
            raise WrongOptionError(
                f"--iou-threshold must be above {least:g}, up to which a detection is at no object's place; got "
                f"{self.args.iou_threshold:g}: .5 is usual"
            ) from error

    def require_sizes(self) -> None:
        """Raises WrongOptionError where a range is none or of nothing, or --single-file is for too many images."""
        for name in ("area", "occlusion"):
            if getattr(self.args, name) is not None and not self.is_annotated:
                raise WrongOptionError(
                    f"--{name} must be of annotated objects; got no annotations: give --annotations, or leave it out"
                )
            low, high = getattr(self.args, name) or (0.0, 0.0)
            if low > high:
                raise WrongOptionError(f"--{name} must be MIN and MAX; got {low:g} and {high:g}: exchange them")
        number = len(self.records[: self.args.max_images])
        require_few(number, self.args.single_file, "give --max-images")

    @cached_property
    def analyst(self) -> ImageAnalyst:
        """What analyses an image."""
        args, rules = self.args, self.rules
        finder = None
        if self.is_annotated:
            of_misses = MissRules(args.iou_threshold, score_threshold=args.score_threshold)
            alike = self.config.explainer(self.model, method="odam", attributes=("score",))
            finder = MissFinder(self.model, of_misses, self.shown_names, explainer=alike)
        made = (self.explainers, finder, self.shown_names, rules)
        return ImageAnalyst(*made, score_threshold=args.score_threshold, most=args.max_detections, classes=self.classes)

    def settings(self) -> dict[str, Any]:
        """Everything that rows depend on, but not the number of images: a run can be made longer."""
        kept = ["methods", "attributes", "iou_threshold", "score_threshold", "max_detections"]
        kept += ["classes", "area", "occlusion"]
        return {**super().settings(), **{name: getattr(self.args, name) for name in kept}}
