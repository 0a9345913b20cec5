"""A mistake with its maps, and one image as mistakes are looked at in it.

Shape letters: R detections, G objects of one image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ..evaluation.crowd.objects import overlaps
from ..evaluation.ground_truth import TrueObjects
from ..postprocess import OdamNMS
from ..structures import HeatMaps
from ..visualize.storage import class_name
from .context import ObjectRegions
from .image_errors import ImageErrors
from .verdicts import Verdict


@dataclass
class Mistake:
    """One mistake, and what the maps say of it.

    Attributes:
        detection: its number in the image.
        verdict: which error it is.
        annotation_id: of the object that it is judged against; None where there is none.
        attribute: which of the maps are to be looked at.
        maps: role -> maps of one detection. ``said`` and ``true`` for the class that was said and the true one, on the
            detection's box; ``detected`` and ``annotated`` for a side of the detection and of the annotated box;
            ``detection`` and ``rival`` for duplicates; ``detection`` alone for the background. A role whose box the
            detector has no prediction for is missing.
        figures: what JSON can hold, see the kinds.
        sentence: what one sees, in plain words.
    """

    detection: int
    verdict: Verdict
    annotation_id: Any
    attribute: str
    maps: dict[str, HeatMaps]
    figures: dict[str, Any]
    sentence: str

    def as_json(self) -> dict[str, Any]:
        """Everything but the maps, as JSON can hold it."""
        return {
            "detection": self.detection,
            "verdict": self.verdict.word,
            "annotation_id": self.annotation_id,
            "attribute": self.attribute,
            "maps": sorted(self.maps),
            "figures": self.figures,
            "sentence": self.sentence,
        }


@dataclass
class Answer:
    """What the detector says of a given box: its maps, and the score of the class."""

    maps: HeatMaps
    score: float


@dataclass
class Scene:
    """One image, as the kinds need it.

    Attributes:
        boxes: (R, 4) float32 XYXY of the detections, original pixels, on the CPU, as are the next two.
        classes: (R,) int64.
        scores: (R,) float32.
        heatmaps: R maps.
        errors: the verdicts.
        regions: the objects, as places for heat.
        nms: thresholds of Odam-NMS, and which maps it compares.
        class_names: by number.
    """

    boxes: Tensor
    classes: Tensor
    scores: Tensor
    heatmaps: HeatMaps
    errors: ImageErrors
    regions: ObjectRegions
    nms: OdamNMS
    class_names: tuple[str, ...]

    @property
    def truth(self) -> TrueObjects:
        """The objects."""
        return self.regions.truth

    @property
    def class_attribute(self) -> str:
        """The attribute that tells of the class: the score, or else the logit, or else the first there is."""
        known = self.heatmaps.attributes
        return next((name for name in ("score", "logit") if name in known), known[0])

    def name(self, label: int | Tensor) -> str:
        """Of a class."""
        return class_name(int(label), self.class_names)

    def object_name(self, number: int) -> str:
        """Of an object, with its id."""
        return f"{self.name(self.truth.classes[number])} #{self.truth.ids[number]}"

    def object_of(self, row: int) -> int:
        """The object that a detection is judged against, -1 for none."""
        return int(self.errors.objects[row])

    def id_of(self, number: int) -> Any:
        """Of an object's annotation; None for -1."""
        return None if number < 0 else self.truth.ids[number]

    def share_of_each_object(self, box: Tensor) -> np.ndarray:
        """(G,) float64, how much of each object's box lies in a (4,) box."""
        return overlaps(self.truth.boxes.double().numpy(), box[None].double().numpy(), of_box=True)[:, 0]

    def share_in_each_object(self, box: Tensor) -> np.ndarray:
        """(G,) float64, how much of a (4,) box lies in each object's box."""
        return overlaps(box[None].double().numpy(), self.truth.boxes.double().numpy(), of_box=True)[0]

    def heat(self, maps: HeatMaps, box: Tensor, own: int, attribute: str) -> dict[str, Any]:
        """Where the heat of one map lies: ``inside`` the box, on the ``own`` object, and on which ``other`` most.

        Args:
            maps: of one detection.
            box: (4,) XYXY that it is of.
            own: number of its object, -1 for none.
            attribute: which of its maps.
        """
        context = self.regions.context(maps, box[None], [own], attribute)
        (row,) = context.rows(least=0.05)
        outside = row["outside"]
        return {
            "inside": None if outside is None else 1.0 - outside,
            "own": row["own"],
            "other": row["others"][0] if row["others"] else None,
        }


class Kind(ABC):
    """A type of error. Its docstring names its figures."""

    def asks(self, scene: Scene, row: int) -> dict[str, tuple[Tensor, int]]:
        """Role -> box and class whose maps are wanted beside those that there are."""
        del scene, row
        return {}

    @abstractmethod
    def tell(self, scene: Scene, row: int, answers: Mapping[str, Answer]) -> Mistake:
        """What is seen of a detection.

        Args:
            scene: the image.
            row: which detection.
            answers: to what it asks, as far as the detector has any.
        """
