"""What `odam tune-nms` works with: detector, data, evaluator and the settings to try."""

import argparse
import copy
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from detectron2.data import MetadataCatalog

from ..data.account import Account
from ..data.records import judged_records, load_dataset
from ..engine.evaluators import ALL_IMAGES, BOXES, CROWDS, EVALUATORS
from ..evaluation.nms_tuning.suppression import SUPPRESSIONS
from ..evaluation.nms_tuning.tuning import EvaluatorScore, Score, Setting, grid
from ..loading import DetectorConfig
from ..model_zoo.addresses import weights_checksum
from ..modeling.num_classes import count_classes
from ..utils.untyped import UntypedModule
from .annotated import tell
from .config import read_run_config


@dataclass
class Setup:
    """What a run works with.

    Raises:
        ValueError: by the first attribute that can't be made.
    """

    args: argparse.Namespace

    @cached_property
    def config(self) -> DetectorConfig:
        """The detector's config, with Odam-NMS."""
        config = read_run_config(self.args, self.args.score_threshold, self.args.max_detections)
        config.odam.NMS.ENABLED = True
        if self.args.protocol:
            config.odam.TEST.CROWD_PROTOCOL = self.args.protocol
        return config

    @cached_property
    def model(self) -> UntypedModule:
        """The detector with its weights."""
        model = self.config.build()
        self.config.load_weights(model)
        return model

    @property
    def most_detections(self) -> int:
        """The most detections of an image."""
        limit = self.config.most_detections if self.model is not None else None
        return self.args.max_detections if limit is None else min(limit, self.args.max_detections)

    @cached_property
    def account(self) -> Account:
        """What becomes of the annotations."""
        return Account(self.args.dataset)

    @cached_property
    def records(self) -> list[dict]:
        """Records of the images of this run."""
        args = self.args
        everything = judged_records(load_dataset(args.dataset), self.account)
        tell(self.account, args.strict)
        self._require_classes_of_the_data_set()
        end = None if args.max_images is None else args.skip_images + args.max_images
        if not everything[args.skip_images : end]:
            raise ValueError(
                f"`skip_images` must leave images; got {args.skip_images} of {len(everything)}: skip fewer"
            )
        return everything[args.skip_images : end]

    def _require_classes_of_the_data_set(self) -> None:
        """Raises ValueError where the evaluator would take the detector's classes for others."""
        catalogued = MetadataCatalog.get(self.args.dataset)
        own = catalogued.get("thing_classes")
        if own is None or catalogued.get("evaluator_type") == "crowdhuman":  # which looks at class 0, people, alone
            return
        names, number = self.config.class_names(self.model), count_classes(self.model)
        if number != len(own) or (names is not None and list(names) != list(own)):
            raise ValueError(
                f"`dataset` must have the detector's classes; got {self.args.dataset!r} with {list(own)}, and the "
                f"detector has {list(names) if names else f'{number} classes without names'}: name a data set that it "
                "can be trained on"
            )

    @cached_property
    def protocol(self) -> str | None:
        """The rules of the crowd's figures; None where the data set has none."""
        kind = MetadataCatalog.get(self.args.dataset).get("evaluator_type")
        return self.config.odam.TEST.CROWD_PROTOCOL if kind in CROWDS else None

    @cached_property
    def score(self) -> Score:
        """The data set's own evaluator.

        Raises:
            ValueError: if boxes are not enough for it, or it needs more images.
            ImportError: if its package is not installed.
        """
        kind = MetadataCatalog.get(self.args.dataset).get("evaluator_type")
        if kind in EVALUATORS and kind not in BOXES:
            raise ValueError(
                f"`dataset` must be scored by boxes; got {self.args.dataset!r} with evaluator_type {kind!r}: name one "
                f"of types {sorted(BOXES)}"
            )
        if kind in ALL_IMAGES and (self.args.skip_images or self.args.max_images is not None):
            raise ValueError(
                f"`max_images` must be left out for {self.args.dataset!r}, whose evaluator_type {kind!r} judges all "
                f"images; got {self.args.max_images}, and {self.args.skip_images} skipped: take them all"
            )
        folder = str(Path(self.args.output) / "evaluator")
        return EvaluatorScore(self.config.evaluator(self.args.dataset, folder))

    def stock_threshold(self) -> float:
        """The IoU threshold that the detector's config has for NMS."""
        if not hasattr(self.model, "roi_heads"):
            return float(self.model.test_nms_thresh)
        predictor: UntypedModule = self.model.roi_heads.box_predictor
        last: UntypedModule = predictor[-1] if isinstance(predictor, torch.nn.ModuleList) else predictor
        return float(last.test_nms_thresh)

    def settings(self) -> list[Setting]:
        """The settings to try: the published ones, and a grid or the choice of another run."""
        args = self.args
        iou, low, high = self.model.odam_nms.thresholds
        published = {
            **{name: way.published for name, way in SUPPRESSIONS.items() if way.published is not None},
            "nms": {"iou_threshold": self.stock_threshold()},
            "odam_nms": {"iou_threshold": iou, "low": low, "high": high},
        }
        known = [Setting(way, published[way], "published") for way in args.ways if way in published]
        if args.thresholds:
            chosen = read_thresholds(args.thresholds)
            return [*known, *(Setting(way, chosen[way], "chosen") for way in args.ways if way in chosen)]
        values = {
            "iou_threshold": args.iou_thresholds,
            "sigma": args.sigmas,
            "decay": args.decays,
            "weight": args.weights,
            "limit": args.limits,
            "odam_soft.sigma": args.odam_sigmas,
            "odam_nms.iou_threshold": args.odam_iou_thresholds,
            "low": args.lows,
            "high": args.highs,
        }
        return [*known, *grid(args.ways, values)]

    def dependencies(self) -> dict[str, Any]:
        """Everything that the candidates of an image depend on: neither the other images nor the thresholds."""
        config = copy.deepcopy(self.config)
        for name in ("IOU_THRESH", "LOW", "HIGH", "METHOD", "WEIGHT", "SIGMA"):
            config.odam.NMS[name] = None
        del config.odam["TEST"]
        return {
            "config": config.text(),
            "weights": weights_checksum(self.config.weights),
            "dataset": self.args.dataset,
        }


def read_thresholds(path: str) -> dict[str, dict[str, float]]:
    """Way -> thresholds, as another run wrote them.

    Raises:
        ValueError: if the file is not such a one.
    """
    try:
        chosen = json.loads(Path(path).read_text(encoding="utf-8"))["thresholds"]
        return {way: {name: float(value) for name, value in one.items()} for way, one in chosen.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"`thresholds` must be a file that odam tune-nms wrote; got {path!r} ({error}): name a thresholds.json"
        ) from error
