"""One more forward pass of a detector that keeps what became of every candidate.

Each family of detectors is read in a file of its own, which registers a function with :func:`replay`; so does a project
with a detector of its own.

Shape letters: P candidates of an image, K classes, D detections of an image, r rows asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

import torch
from detectron2.structures import Instances
from torch import Tensor

from ...structures import DetectionTrace
from ...utils.untyped import UntypedModule
from .choice import ChoiceStage, Kept, ScoreFilter, UnknownChoice
from .steps import BoxStep, Step


@dataclass(frozen=True)
class Candidates:
    """All candidates of one image: where they are at each step, what is said of them, and how they are chosen among.

    Attributes:
        noun: what one of them is called: ``proposal``, ``anchor``, ``location``, ``query``, ``token``.
        steps: where they begin, and where each later step of the detector put them.
        last: the last of the steps, boxes as they are reported.
        scores: (P, K) as they are reported.
        choice: the stages of the choice in their order.
        background: (P,) the score of there being nothing, where the head has one.
        start_scores: (P,) what the candidates themselves were chosen by, e.g. objectness; None where there was nothing.
        before: what the candidates were chosen among, e.g. the anchors of proposals; None where that is not known, or
            they are all there are.
    """

    noun: str
    steps: Sequence[Step]
    last: BoxStep
    scores: Tensor
    choice: Sequence[ChoiceStage]
    background: Tensor | None = None
    start_scores: Tensor | None = None
    before: Candidates | None = None

    @property
    def every_step(self) -> list[Step]:
        """The steps, the last one included."""
        return [*self.steps, self.last]

    @property
    def filters(self) -> list[ScoreFilter]:
        """The stages that ask for a score."""
        return [stage for stage in self.choice if isinstance(stage, ScoreFilter)]

    @property
    def is_choice_known(self) -> bool:
        """Whether it is known why a pair was not chosen."""
        return not any(isinstance(stage, UnknownChoice) for stage in self.choice)

    def passes(self, rows: Tensor) -> Tensor:
        """(r, K) bool: which pairs of (r,) candidates and a class score enough."""
        enough = torch.ones_like(self.scores[rows], dtype=torch.bool)
        for stage in self.filters:
            enough &= stage.is_enough(stage.values[rows])
        return enough

    def left_at(self, rows: Tensor, label: int) -> Tensor:
        """(r,) int64: the number of the stage at which each pair of (r,) candidates and a class left.

        Of pairs that are left by all stages it is the number of stages.
        """
        place = torch.full_like(rows, len(self.choice))
        for number, stage in reversed(list(enumerate(self.choice))):
            place[~stage.survives(rows, label)] = number
        return place


@dataclass(frozen=True)
class ReplayedImage:
    """What a detector did with one image.

    Attributes:
        detections: D Instances in the original frame with ``pred_boxes``, ``scores`` and ``pred_classes``, bit for bit
            what inference gives.
        rows: (D,) int64, the candidate of each.
        image_size: (h, w) of the model input without padding.
        candidates: None where the detector doesn't show them.
        unknown: why it doesn't, in a few words.
        classless: whether all that is found is of class 0, whatever it is: proposals.
    """

    detections: Instances
    rows: Tensor
    image_size: tuple[int, int]
    candidates: Candidates | None = None
    unknown: str = ""
    classless: bool = False

    @property
    def output_size(self) -> tuple[int, int]:
        """(h, w) of the original image."""
        height, width = self.detections.image_size
        return int(height), int(width)

    def to_input(self, boxes: Tensor) -> Tensor:
        """(G, 4) boxes of the original frame in model-input pixels, on the detector's device."""
        scale = [self.image_size[1] / self.output_size[1], self.image_size[0] / self.output_size[0]] * 2
        boxes = boxes.to(self.detections.scores)
        return boxes * boxes.new_tensor(scale)

    def to_output(self, box: Tensor) -> list[float]:
        """A (4,) box of the model input in the original frame, within the image."""
        height, width = self.output_size
        scale = [width / self.image_size[1], height / self.image_size[0]] * 2
        limits = box.new_tensor([width, height] * 2)
        return (box * box.new_tensor(scale)).clamp(min=0.0).minimum(limits).tolist()


@dataclass(frozen=True)
class Replayed:
    """What a detector did with the images of a batch.

    Attributes:
        images: N of them.
        trace_of: from N Instances in the model-input frame with ``pred_boxes``, ``scores``, ``pred_classes`` and the
            candidates' rows in ``odam_row`` to their trace, by which they can be explained; None where no pair of
            candidates suppresses another.
    """

    images: list[ReplayedImage]
    trace_of: Callable[[list[Instances]], DetectionTrace] | None = field(default=None, repr=False)


@singledispatch
def replay(detector: Any, batched_inputs: list[dict]) -> Replayed:
    """Runs a detector once and keeps what became of every candidate.

    Of a class for which nothing is registered only the detections are known; register more with
    ``@replay.register(YourDetector)``.

    Args:
        detector: one with ``trace``, in eval mode.
        batched_inputs: what it takes.

    Raises:
        UnmatchedError: if the detector doesn't work as its adapter takes it to.
    """
    return detections_alone(detector, batched_inputs, f"{_name(detector)} shows nothing but its detections")


def detections_alone(detector: UntypedModule, batched_inputs: list[dict], unknown: str) -> Replayed:
    """What is known of a detector that shows nothing else."""
    trace = detector.trace(batched_inputs)
    rows = trace.rows.split([len(found) for found in trace.instances])
    parts = zip(trace.instances, rows, trace.image_sizes, strict=True)
    return Replayed([ReplayedImage(found, row, size, unknown=unknown) for found, row, size in parts])


def known_choice(stages: Sequence[ChoiceStage], last: BoxStep, rows: Tensor, labels: Tensor) -> Sequence[ChoiceStage]:
    """Stages that were read off a detector's settings, if they leave its own detections; else an unknown choice.

    Args:
        stages: the last one a :class:`Kept`. What it leaves without area, Detectron2's post-processing takes out.
        last: boxes of all candidates as they are reported.
        rows, labels: (D,) int64, the pairs that were detected.
    """
    final = stages[-1]
    assert isinstance(final, Kept)  # what is left of all stages
    pairs = zip(final.rows.tolist(), final.labels.tolist())
    left = [pair for pair in pairs if bool((last.box_of(*pair)[2:] > last.box_of(*pair)[:2]).all())]
    if sorted(left) == sorted(zip(rows.tolist(), labels.tolist())):
        return stages
    return [UnknownChoice("choice", None, rows, labels)]


def _name(detector: Any) -> str:
    return type(getattr(detector, "model", detector)).__name__
