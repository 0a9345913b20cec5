"""Explains the same objects again and again while a detector learns."""

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.engine import HookBase
from detectron2.structures import Boxes, Instances
from torch import nn

from ..data.categories import require_fitting_names
from ..data.inputs import ImageInputs, InputMaker, shown
from ..data.registration import judged_dataset
from ..evaluation.ground_truth import TrueObjects
from ..evaluation.metrics.discrimination import object_discrimination_index
from ..explain import Explainer, build_explainer, explainer_options
from ..explain.reachable import reachable_rows
from ..modeling.num_classes import count_classes
from ..visualize.crops import crop, region_around
from .hooks import bare_model

ATTRIBUTE = "score"


class WatchExplanations(HookBase):
    """Every few iterations, ODI of some annotated objects, and images of some of them, go to the event storage.

    Boxes are given, so the objects are the same throughout, whether they are detected or not. What no prediction of
    the detector stands for is left out.

    Args:
        inputs: the images, as the detector takes them.
        truths: the objects of each.
        period: iterations between two looks; there is one at the end, too.
        drawn: how many objects are drawn.
        options: how they are explained: arguments of :func:`odam_d2.explain.build_explainer`.
        class_names: what the objects' classes are called, where it is known.
    """

    def __init__(
        self,
        inputs: ImageInputs,
        truths: list[TrueObjects],
        period: int,
        drawn: int,
        options: Mapping[str, Any] | None = None,
        class_names: Sequence[str] | None = None,
    ):
        self.inputs, self.truths, self.period, self.drawn = inputs, truths, period, drawn
        self.class_names = class_names
        self.options = dict(options or {})
        self.explainer: Explainer | None = None
        self.reachable: list[torch.Tensor] = []

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "WatchExplanations":
        """Watches the first images with objects of the first test set.

        Raises:
            ValueError: if there is no test set.
        """
        if not cfg.DATASETS.TEST:
            raise ValueError(
                "`DATASETS.TEST` must name a data set to watch explanations on; got none: name one, or set "
                "ODAM.TRAIN.WATCH_PERIOD to 0"
            )
        train = cfg.ODAM.TRAIN
        pairs = ((record, TrueObjects.of(record)) for record in judged_dataset(cfg.DATASETS.TEST[0]))
        chosen = list(islice(((record, truth) for record, truth in pairs if len(truth.boxes)), train.WATCH_IMAGES))
        inputs = ImageInputs([record for record, _ in chosen], InputMaker.from_config(cfg))
        truths, options = [truth for _, truth in chosen], explainer_options(cfg, attributes=(ATTRIBUTE,))
        names = MetadataCatalog.get(cfg.DATASETS.TEST[0]).get("thing_classes")
        return cls(inputs, truths, train.WATCH_PERIOD, train.WATCH_DRAWN, options, names)

    def after_step(self) -> None:
        """See :class:`HookBase`."""
        done = self.trainer.iter + 1
        if done % self.period == 0 or done == self.trainer.max_iter:
            self.look(bare_model(self.trainer.model))

    def look(self, model: nn.Module) -> dict[str, float]:
        """Explains all objects now, and writes what comes of it.

        Args:
            model: the detector, in whatever mode; it is left as it was.

        Returns:
            What was written, by name.
        """
        if self.explainer is None or self.explainer.model is not model:
            self._require_classes(model)
            self.explainer = build_explainer(model, **{"attributes": (ATTRIBUTE,), **self.options})
            self.reachable = [self._reach(self.explainer, number) for number in range(len(self.truths))]
        found: dict[str, list[torch.Tensor]] = {"box": [], "mask": []}
        left = self.drawn
        for number, (truth, rows) in enumerate(zip(self.truths, self.reachable, strict=True)):
            entry = self.inputs[number]
            if len(rows) == 0 or "image" not in entry:
                continue
            heatmaps = self.explainer([entry], [_given(truth, rows)])[0]["instances"].heatmaps
            maps = heatmaps.to_image(ATTRIBUTE).cpu()
            found["box"].append(object_discrimination_index(maps, rows, truth.inside_boxes))
            if bool(truth.has_mask.all()):
                found["mask"].append(object_discrimination_index(maps, rows, truth.masks))
            for row, heat in list(zip(rows.tolist(), maps, strict=True))[:left]:
                self._draw(entry, truth, row, heat.numpy())
                left -= 1
        written = {"odam/watched_objects": float(sum(len(rows) for rows in self.reachable))}
        for kind, parts in found.items():
            values = torch.cat([torch.zeros(0), *parts])
            mean = float(values[~values.isnan()].mean())
            if not math.isnan(mean):
                written[f"odam/ODI_{kind}"] = mean
        self.trainer.storage.put_scalars(**written, smoothing_hint=False)
        return written

    def _require_classes(self, model: nn.Module) -> None:
        """Raises ValueError where the annotated objects are of other classes than the detector's."""
        number = count_classes(model)
        if number is not None:
            require_fitting_names(self.class_names, number)

    def _reach(self, explainer: Explainer, number: int) -> torch.Tensor:
        """Rows of the objects of an image that a prediction of the detector stands for."""
        entry, truth = self.inputs[number], self.truths[number]
        if "image" not in entry:
            return torch.zeros(0, dtype=torch.int64)

        everyone = _given(truth, torch.arange(len(truth.boxes)))
        return torch.tensor(reachable_rows(explainer, entry, everyone), dtype=torch.int64)

    def _draw(self, entry: dict, truth: TrueObjects, row: int, heat: np.ndarray) -> None:
        """Puts the surroundings of an object, with its box and heat, into the storage."""
        height, width = truth.size
        pixels = torch.nn.functional.interpolate(entry["image"][None], (height, width), mode="bilinear")[0]
        image = shown(pixels, self.inputs.make_input.input_format)
        box = truth.boxes[row].numpy()
        seen = crop(image, region_around(box, height, width), box.tolist(), heat.clip(0.0, 1.0))
        name = f"odam/image_{entry['image_id']}_object_{truth.ids[row]}"
        self.trainer.storage.put_image(name, np.ascontiguousarray(seen.transpose(2, 0, 1)))


def _given(truth: TrueObjects, rows: torch.Tensor) -> Instances:
    return Instances(truth.size, pred_boxes=Boxes(truth.boxes[rows]), pred_classes=truth.classes[rows])
