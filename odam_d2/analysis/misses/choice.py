"""How a detector chooses its detections among pairs of candidate and class, stage by stage.

Shape letters: P candidates of an image, K classes, M pairs that enter a stage, k that leave it, r rows asked about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torchvision.ops import box_iou

from ...ops.nms import duplicates, moved_apart


class ChoiceStage(Protocol):
    """A stage that some pairs leave and others don't."""

    @property
    def name(self) -> str:
        """What the stage is called, e.g. ``pre_nms_topk``."""
        ...

    @property
    def limit(self) -> float | None:
        """The number that decides: a score, how many at most, or an IoU; None where there is none."""
        ...

    def survives(self, rows: Tensor, label: int) -> Tensor:
        """(r,) bool: which of the pairs of (r,) candidates and a class get through, if they got so far."""
        ...


@dataclass(frozen=True)
class ScoreFilter:
    """Only what scores above a threshold gets through.

    Attributes:
        name: see :class:`ChoiceStage`.
        limit: see :class:`ChoiceStage`.
        values: (P, K) what is compared, in most detectors the scores.
    """

    name: str
    limit: float
    values: Tensor

    def survives(self, rows: Tensor, label: int) -> Tensor:
        """See :meth:`ChoiceStage.survives`."""
        return self.is_enough(self.values[rows, label])

    def is_enough(self, values: Tensor) -> Tensor:
        """Which of some values get through, bool in their shape."""
        return values > self.limit


class LeastScore(ScoreFilter):
    """What scores the threshold itself gets through too."""

    def is_enough(self, values: Tensor) -> Tensor:
        """See :meth:`ScoreFilter.is_enough`."""
        # In double precision, as who asks for .6 means it.
        return values.double() >= self.limit


@dataclass(frozen=True)
class Kept:
    """Named pairs get through.

    Attributes:
        name: see :class:`ChoiceStage`.
        limit: see :class:`ChoiceStage`.
        rows, labels: (k,) int64, the pairs.
    """

    name: str
    limit: float | None
    rows: Tensor
    labels: Tensor

    def survives(self, rows: Tensor, label: int) -> Tensor:
        """See :meth:`ChoiceStage.survives`."""
        return torch.isin(rows, self.rows[self.labels == label])


class UnknownChoice(Kept):
    """Somebody's own way to choose: what it left is known, why is not."""


@dataclass(frozen=True)
class Entrants:
    """What enters non-max suppression.

    Attributes:
        rows, labels: (M,) int64, the pairs.
        boxes: (M, 4), as they are compared.
        scores: (M,) that they are ranked by.
        groups: (M,) int64; only what is of one group is compared.
    """

    rows: Tensor
    labels: Tensor
    boxes: Tensor
    scores: Tensor
    groups: Tensor


@dataclass(frozen=True)
class Neighbour:
    """The kept pair that suppressed another.

    Attributes:
        row, label: the pair.
        iou: of both boxes, as non-max suppression compares them.
        box: (4,) XYXY in model-input pixels.
    """

    row: int
    label: int
    iou: float
    box: Tensor


@dataclass(frozen=True)
class Suppression:
    """Non-max suppression: what overlaps a better one of its group by more than an IoU goes.

    Attributes:
        name: see :class:`ChoiceStage`.
        limit: see :class:`ChoiceStage`.
        entrants: what enters.
        kept: (k,) int64 places among the entrants, by falling score.
    """

    name: str
    limit: float
    entrants: Entrants
    kept: Tensor

    def survives(self, rows: Tensor, label: int) -> Tensor:
        """See :meth:`ChoiceStage.survives`."""
        kept = self.entrants.rows[self.kept]
        return torch.isin(rows, kept[self.entrants.labels[self.kept] == label])

    def neighbour(self, row: int, label: int) -> Neighbour:
        """Of the kept pairs that suppress a pair, each of which would do so alone, the one that overlaps it most.

        Args:
            row, label: a pair that entered and did not get through.
        """
        entrants = self.entrants
        place = int(((entrants.rows == row) & (entrants.labels == label)).nonzero()[0, 0])
        same = entrants.groups[self.kept] == entrants.groups[place]
        better = self.kept[same & (entrants.scores[self.kept] >= entrants.scores[place])]
        boxes = moved_apart(entrants.boxes, entrants.groups)
        iou = box_iou(boxes[better], boxes[place][None])[:, 0].nan_to_num(0.0)
        best = int(torch.where(self.suppresses(iou, better, place), iou, -1.0).argmax())
        other = int(better[best])
        row, label = int(entrants.rows[other]), int(entrants.labels[other])
        return Neighbour(row, label, float(iou[best]), entrants.boxes[other])

    def suppresses(self, iou: Tensor, better: Tensor, place: int) -> Tensor:
        """Which of some better entrants suppress one, if kept.

        Args:
            iou: of each with it.
            better: their places.
            place: its own.
        """
        del better, place
        # In double precision, as torchvision compares on CPUs.
        return iou.double() > self.limit


@dataclass(frozen=True)
class OdamSuppression(Suppression):
    """Odam-NMS: the likeness of maps decides too; see :func:`odam_d2.ops.nms.odam_nms`.

    Attributes:
        similarity: (M, M) cosines of the entrants' maps.
        thresholds: IoU, low and high.
    """

    similarity: Tensor
    thresholds: tuple[float, float, float]

    def suppresses(self, iou: Tensor, better: Tensor, place: int) -> Tensor:
        """See :meth:`Suppression.suppresses`."""
        return duplicates(iou, self.similarity[better, place], *self.thresholds)
