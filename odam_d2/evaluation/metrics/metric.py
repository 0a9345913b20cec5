"""What a metric is: a number for each explained object, with its direction and with what it needs.

Shape letters: R explained objects, G objects of the image, (h, w) the image, T places of a curve, P pairs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from ...structures import HeatMaps
from ...utils.registry import NamedRegistry
from ..ground_truth import TrueObjects
from .faithfulness import SCORED_STEPS, FaithfulnessCurves, ScoreObjects, faithfulness_curves

METRICS: NamedRegistry[Metric] = NamedRegistry("METRICS")
AnyMetric = TypeVar("AnyMetric", bound="Metric")


@dataclass
class ExplainedObjects:
    """Some matched objects of one image, and what one method says of them.

    Attributes:
        heatmaps: R maps.
        attribute: which of them are judged.
        objects: (R,) int64 rows of `truth`.
        truth: all objects of the image.
        image: (3, h', w') float32, the model input.
        score: asks the detector, for faithfulness; None where nobody wants it.
        seconds: what the method took for an object; None where it wasn't measured.
        seed: of deletion's noise.
        around_noise: R maps of the same boxes in the image and in the noisy one, for stability; None where nobody
            wants them or the detector explains these boxes no more.
        steps: at which deletion and insertion score the objects.
    """

    heatmaps: HeatMaps
    attribute: str
    objects: Tensor
    truth: TrueObjects
    image: Tensor
    score: ScoreObjects | None = None
    seconds: float | None = None
    seed: int = 0
    around_noise: tuple[HeatMaps, HeatMaps] | None = None
    steps: Sequence[int] = SCORED_STEPS

    @cached_property
    def heat(self) -> Tensor:
        """(R, h, w) in [0, 1], in the frame of the original image."""
        return self.heatmaps.to_image(self.attribute, size=self.truth.size).cpu()

    @cached_property
    def faithfulness(self) -> FaithfulnessCurves:
        """Deletion and insertion at model-input size; the object's own box says where to look for it."""
        if self.score is None:
            raise ValueError("`score` must ask the detector for deletion and insertion; got None: take object_scorer")
        height, width = self.image.shape[1:]
        scale = torch.tensor([width / self.truth.size[1], height / self.truth.size[0]]).repeat(2)
        device = self.heatmaps.device
        return faithfulness_curves(
            self.score,
            self.image.to(device, torch.float32),
            self.heatmaps.to_image(self.attribute, size=(height, width)),
            self.truth.classes[self.objects].to(device),
            (self.truth.boxes[self.objects] * scale).to(device),
            seed=self.seed,
            steps=self.steps,
        )


class Metric(ABC):
    """A number for each explained object.

    Attributes:
        name: in :data:`METRICS`.
        higher_is_better: its direction; None for what says nothing about the map.
        needs_masks: whether only objects with a mask have it.
        needs_neighbours: whether only objects that aren't alone in their image have it.
        needs_detector: whether it asks the detector about changed images.
        needs_explainer: whether it explains the objects again, in a changed image.
        axis: name and T places of the curve that the number sums up; None where there is no curve.
    """

    name: str
    higher_is_better: bool | None = True
    needs_masks = False
    needs_neighbours = False
    needs_detector = False
    needs_explainer = False
    axis: tuple[str, Sequence[float]] | None = None

    @abstractmethod
    def values(self, seen: ExplainedObjects) -> Tensor:
        """(R,) float32; NaN for an object that has no value."""

    def curves(self, seen: ExplainedObjects) -> Tensor | None:
        """(R, T) float32 at the places of `axis`."""
        del seen
        return None

    def pairs(self, seen: ExplainedObjects) -> Tensor | None:
        """(P, 4) float32, see :func:`~odam_d2.evaluation.metrics.discrimination.pairs_of_objects`."""
        del seen
        return None

    def region(self, seen: ExplainedObjects) -> Tensor:
        """(G, h, w) bool: masks of the objects, or their boxes."""
        return seen.truth.masks if self.needs_masks else seen.truth.inside_boxes

    def has_value(self, seen: ExplainedObjects) -> Tensor:
        """(R,) bool: the objects with everything that the metric needs."""
        has = seen.truth.has_mask if self.needs_masks else torch.ones(len(seen.truth.boxes), dtype=torch.bool)
        if self.needs_neighbours:
            # Heat in a neighbour without a mask can't be seen.
            has = has.all().expand(len(has)) & (len(has) > 1)
        return has[seen.objects]

    def measure(self, seen: ExplainedObjects) -> Tensor:
        """(R,) float32 on the CPU: `values`, and NaN for objects that lack what the metric needs."""
        has = self.has_value(seen)
        nothing = torch.full((len(has),), float("nan"))
        return torch.where(has, self.values(seen).cpu(), nothing) if bool(has.any()) else nothing


def register_metric(name: str) -> Callable[[type[AnyMetric]], type[AnyMetric]]:
    """Class decorator: makes a :class:`Metric` reachable by name.

    Raises:
        AssertionError: if the name is taken.
    """

    def make(cls: type[Metric]) -> Metric:
        metric = cls()
        metric.name = name
        return metric

    return METRICS.register_as(name, make)
