"""What a detector made of one missed object: the facts that mechanisms are told by.

Shape letters: P candidates of an image, K classes, D detections, G other annotated objects, r rows of candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from .choice import Kept, LeastScore
from .miss import Evidence
from .replay import Candidates, ReplayedImage

# Candidates whose overlaps differ by less begin equally near: several anchors hold a small object, and many locations
# reach a large one.
NEARLY = 1e-3


@dataclass(frozen=True)
class MissRules:
    """By which numbers misses are told apart.

    Attributes:
        iou_threshold: t_f, the IoU from which on a box fits an object.
        background_score: where the head has no score for background, a candidate at which no class scores this much
            counts as taken for background.
        score_threshold: detections that score less count as not made; 0 for all that the detector makes.
        max_detections: how many of an image count, the best ones; None for all.

    Raises:
        ValueError: if a number is out of range.
    """

    iou_threshold: float = 0.5
    background_score: float = 0.05
    score_threshold: float = 0.0
    max_detections: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.iou_threshold <= 1.0:
            raise ValueError(f"`iou_threshold` must be in (0, 1]; got {self.iou_threshold}: .5 is usual")
        for name in ("background_score", "score_threshold"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"`{name}` must be in [0, 1]; got {getattr(self, name)}: choose a score between")
        if self.max_detections is not None and self.max_detections < 1:
            raise ValueError(f"`max_detections` must be at least 1; got {self.max_detections}: leave it out for all")


@dataclass(frozen=True)
class SeenImage:
    """An image as it counts under the rules.

    Attributes:
        image: what the detector did.
        rules: by which its misses are told apart.
        names: of the classes, as far as they are known.
        numbers: (D,) int64, what number each detection is told by, -1 for one that was left out and doesn't count; None
            for their own.
    """

    image: ReplayedImage
    rules: MissRules
    names: Sequence[str] = ()
    numbers: Tensor | None = None

    @cached_property
    def counted(self) -> Tensor:
        """(D,) bool: the detections that count."""
        scores = self.image.detections.scores
        counted = scores.double() >= self.rules.score_threshold
        if self.numbers is not None:
            counted &= self.numbers >= 0
        if self.rules.max_detections is not None:
            best = scores.argsort(descending=True, stable=True)
            counted[best[self.rules.max_detections :]] = False
        return counted

    @cached_property
    def candidates(self) -> Candidates | None:
        """The candidates, with the rules' own thresholds as further stages."""
        known, rules, image = self.image.candidates, self.rules, self.image
        if known is None:
            return None
        more: list[Any] = []
        if rules.score_threshold:
            more.append(LeastScore("score_threshold", rules.score_threshold, known.scores))
        counted = (image.rows[self.counted], image.detections.pred_classes[self.counted])
        if rules.max_detections is not None:
            more.append(Kept("max_detections", float(rules.max_detections), *counted))
        if self.numbers is not None:
            more.append(Kept("left_out", None, *counted))
        return replace(known, choice=[*known.choice, *more])

    def number(self, row: int) -> int:
        """What a detection that counts is told by."""
        return row if self.numbers is None else int(self.numbers[row])

    def name(self, label: int) -> str:
        """A class's name, or its number."""
        return self.names[label] if 0 <= label < len(self.names) else f"class {label}"


class SeenObject:
    """One missed object and the candidates of its image.

    Args:
        seen: the image, whose candidates are known.
        box: (4,) XYXY of the object in model-input pixels.
        label: its class, one of the detector's.
        others: (G, 4) the image's other annotated objects, found or not.
        other_labels: (G,) int64 their classes.
    """

    def __init__(self, seen: SeenImage, box: Tensor, label: int, others: Tensor, other_labels: Tensor):
        assert seen.candidates is not None  # the caller asks
        self.seen, self.rules = seen, seen.rules
        self.candidates: Candidates = seen.candidates
        self.box, self.label = box, label
        self.others, self.other_labels = others, other_labels

    @cached_property
    def overlaps(self) -> list[Tensor]:
        """For each step (P,): the IoU of every candidate with the object."""
        return [step.overlaps(self.box, self.label) for step in self.candidates.every_step]

    @cached_property
    def taken(self) -> list[int]:
        """Detections of the object's class that fit it: they found another object, since this one is missed."""
        image = self.seen.image
        fitting = self.overlaps[-1][image.rows] >= self.rules.iou_threshold
        same = image.detections.pred_classes == self.label
        return (fitting & same & self.seen.counted).nonzero()[:, 0].tolist()

    @cached_property
    def free(self) -> Tensor:
        """(P,) bool: the candidates that found no other object."""
        free = torch.ones(len(self.candidates.scores), dtype=torch.bool, device=self.box.device)
        free[self.seen.image.rows[self.taken]] = False
        return free

    @cached_property
    def fitting(self) -> Tensor:
        """(r,) int64: the free candidates whose box for the object's class fits."""
        return (self.free & (self.overlaps[-1] >= self.rules.iou_threshold)).nonzero()[:, 0]

    @cached_property
    def passing(self) -> Tensor:
        """(r,) int64: those of them that score enough for it."""
        return self.fitting[self.candidates.passes(self.fitting)[:, self.label]]

    @cached_property
    def best(self) -> int:
        """Of the fitting candidates the one with the highest score for the object's class."""
        return int(self.fitting[self.candidates.scores[self.fitting, self.label].argmax()])

    @cached_property
    def other(self) -> tuple[int, int] | None:
        """The best pair of a free candidate with another class that scores enough, and whose box fits the object.

        A box that overlaps another annotated object of that class more speaks for that one, and is none of these.
        """
        rows = self._near_in_any_class
        if len(rows) == 0:
            return None
        scores = self.candidates.scores[rows]
        known = (self.other_labels >= 0) & (self.other_labels < scores.shape[1])
        labels, objects = self.other_labels[known], torch.cat([self.box[None], self.others[known]])
        iou = self.candidates.last.overlaps_of_all(rows, objects)
        own = iou[..., 0].expand_as(scores)
        able = (own >= self.rules.iou_threshold) & self.candidates.passes(rows)
        able[:, self.label] = False
        for number, label in enumerate(labels.tolist(), 1):
            able[:, label] &= own[:, label] >= iou[:, label % iou.shape[1], number]
        if not bool(able.any()):
            return None
        row, label = divmod(int(torch.where(able, scores, -1.0).argmax()), scores.shape[1])
        return int(rows[row]), label

    @property
    def fits_in_any_class(self) -> bool:
        """Whether a free candidate's box fits for whatever class."""
        return len(self._near_in_any_class) > 0

    @cached_property
    def _near_in_any_class(self) -> Tensor:
        """(r,) int64: free candidates whose box for one of the classes fits."""
        rows = self.free.nonzero()[:, 0]
        if self.candidates.last.boxes.dim() == 2:
            return self.fitting
        iou = self.candidates.last.overlaps_of_all(rows, self.box[None])[..., 0]
        return rows[(iou >= self.rules.iou_threshold).any(1)]

    # ------------------------------------------------------------------------------------------------------- evidence
    def evidence(self, **more: Any) -> Evidence:
        """What can be said of the object whatever the mechanism, and more."""
        steps, free = self.candidates.every_step, self.free
        largest = {step.name: _largest(overlap[free]) for step, overlap in zip(steps, self.overlaps, strict=True)}
        return Evidence(
            iou_threshold=self.rules.iou_threshold,
            threshold=self.threshold,
            step_ious=largest,
            taken=tuple(map(self.seen.number, self.taken)),
            **self._start(),
            **nearest_detection(self.seen, self.box),
            **more,
        )

    @property
    def threshold(self) -> float | None:
        """The score to exceed."""
        return max((stage.limit for stage in self.candidates.filters), default=None)

    def _start(self) -> dict[str, Any]:
        rows = self.free.nonzero()[:, 0]
        if len(rows) == 0:
            return {}
        ranked = self.candidates.start_scores
        ranked = self.candidates.scores[:, self.label] if ranked is None else ranked
        overlaps = self.overlaps[0][rows]
        near = rows[overlaps >= overlaps.max() - NEARLY]
        row = int(near[ranked[near].argmax()])
        return {
            "start_iou": float(self.overlaps[0][row]),
            "start_rank": 1 + int((ranked > ranked[row]).sum()),
            "start_score": float(ranked[row]),
        }

    def said_of(self, row: int, preferred: int | None = None) -> dict[str, Any]:
        """What a candidate says of the object's class, of the class that it prefers, and of background.

        Args:
            row: of the candidate.
            preferred: the class; None for the best one that scores more than the object's.
        """
        scores, background = self.candidates.scores[row], self.candidates.background
        own = float(scores[self.label])
        if preferred is None and int(scores.argmax()) != self.label and float(scores.max()) > own:
            preferred = int(scores.argmax())
        ahead = None if preferred is None else float(scores[preferred])
        return {
            "box_iou": float(self.overlaps[-1][row]),
            "score": own,
            "class_rank": 1 + int((scores > scores[self.label]).sum()),
            "preferred_class": preferred,
            "preferred_score": ahead,
            "background_score": None if background is None else float(background[row]),
            "margin": None if ahead is None else ahead - own,
        }


def nearest_detection(seen: SeenImage, box: Tensor) -> dict[str, Any]:
    """The detection that overlaps an object, (4,) in model-input pixels, most: figures of :class:`Evidence`."""
    found = seen.image.detections
    boxes = seen.image.to_input(found.pred_boxes.tensor)
    overlaps = torch.where(seen.counted, box_iou(boxes, box[None])[:, 0].nan_to_num(0.0), 0.0)
    if _largest(overlaps) == 0:
        return {}
    row = int(overlaps.argmax())
    return {
        "detection": seen.number(row),
        "detection_iou": float(overlaps[row]),
        "detection_class": int(found.pred_classes[row]),
        "detection_score": float(found.scores[row]),
    }


def _largest(values: Tensor) -> float:
    return float(values.max()) if len(values) else 0.0
