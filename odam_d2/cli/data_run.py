"""A detector and a data set, built from a command line: what measuring and analysing have in common."""

import argparse
import hashlib
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
from ..evaluation.runs.evaluator import image_key
from ..loading import DetectorConfig
from ..modeling.num_classes import count_classes
from ..utils.files import file_checksum
from ..visualize.storage import class_name
from .annotated import known_categories
from .config import read_run_config


@dataclass
class DataRun:
    """A detector and a data set; every process builds its own from the command line.

    Raises:
        ValueError: by the first attribute that can't be made.
    """

    args: argparse.Namespace

    @cached_property
    def config(self) -> DetectorConfig:
        """The detector's config."""
        return read_run_config(self.args, self.args.score_threshold, self.args.max_detections)

    @cached_property
    def model(self) -> torch.nn.Module:
        """The detector with its weights."""
        if self.config.device == "cpu":  # sums depend on how many threads share them; processes share images
            torch.set_num_threads(1)
        model = self.config.build()
        self.config.load_weights(model)
        return model

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
        return self.coco.class_names if self.args.annotations else ()

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

    def categories(self) -> list[dict[str, Any]]:
        """The classes with their ids in the annotations, as COCO's files have them; else numbered from 1 on."""
        names = [class_name(number, self.shown_names) for number in range(self.num_classes)]
        if self.args.annotations:
            return known_categories(self.coco, names)
        known = MetadataCatalog.get(self.args.dataset) if self.args.dataset else {}
        ids, own = known.get("thing_dataset_id_to_contiguous_id"), known.get("thing_classes")
        if ids and own:
            return [{"id": key, "name": own[number]} for key, number in ids.items()]
        return [{"id": number, "name": name} for number, name in enumerate(names, 1)]

    def inputs(self, records: Sequence[dict]) -> ImageInputs:
        """The detector's inputs for some records."""
        return ImageInputs(records, self.config.make_input())

    def settings(self) -> dict[str, Any]:
        """Everything that results depend on, but not the number of images: a run can be made longer."""
        kept = ("image_id", "height", "width", "annotations")
        records = json.dumps([[record.get(key) for key in kept] for record in self.records], default=str)
        return {
            "config": self.config.text(),
            "weights": self.config.weights_fingerprint(self.model),
            "annotations": hashlib.sha256(records.encode("utf-8")).hexdigest(),
            "imports": [file_checksum(name) if os.path.isfile(name) else name for name in self.args.imports],
            "config_hooks": self.args.config_hooks,
            "class_names": list(self.class_names or ()),
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
