"""Missed objects as boxes that an explainer takes: what the detector says, and looks at, on the object's own box.

Shape letters: N images, R boxes given for an image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from ...modeling.num_classes import count_classes
from ...structures import DetectionTrace
from ...utils.untyped import UntypedModule
from .miss import Miss

#: What a given box shows. It is the object itself, the same box in the class that was preferred, or what suppressed it.
ROLES = ("object", "preferred", "neighbour")


def given_boxes(misses: Sequence[Miss], size: tuple[int, int]) -> Instances:
    """The boxes to explain for an image's misses, for ``explainer(batched_inputs, [given, ...])``.

    An explainer raises UnreachedBoxError where no prediction of the detector stands for a box;
    :func:`odam_d2.explain.reachable.reachable_rows` finds the others.

    Args:
        misses: of the image.
        size: (h, w) of the original image.

    Returns:
        R Instances in the original frame with ``pred_boxes`` and ``pred_classes``, and beside them ``miss``, (R,) int64
        which of the misses each is for, and ``role``, (R,) int64 which of :data:`ROLES`. Each miss has its object, and,
        where there was one, the class preferred on the same box, and its neighbour's box.
    """
    rows = []
    for number, miss in enumerate(misses):
        evidence = miss.evidence
        rows.append((miss.box, miss.label, number, "object"))
        if evidence.preferred_class is not None:
            rows.append((miss.box, evidence.preferred_class, number, "preferred"))
        if evidence.neighbour_box is not None and evidence.neighbour_class is not None:
            rows.append((evidence.neighbour_box, evidence.neighbour_class, number, "neighbour"))
    given = Instances(size)
    given.pred_boxes = Boxes(torch.tensor([box for box, *_ in rows], dtype=torch.float32).view(-1, 4))
    given.pred_classes = torch.tensor([label for _, label, *_ in rows], dtype=torch.int64)
    given.miss = torch.tensor([number for *_, number, _ in rows], dtype=torch.int64)
    given.role = torch.tensor([ROLES.index(role) for *_, role in rows], dtype=torch.int64)
    return given


@torch.no_grad()
def ask_given(detector: UntypedModule, batched_inputs: list[dict], given: list[Instances]) -> list[Instances]:
    """What the detector says of given boxes: the score of the class, and which class it prefers.

    Args:
        detector: one with ``trace``, in eval mode.
        batched_inputs: N images.
        given: N Instances as :func:`given_boxes` makes them.

    Returns:
        The same, with four fields more: ``scores`` (R,) as an explainer reports them; ``class_rank`` (R,) int64, the
        place of the class among all; ``best_class`` (R,) int64 and ``best_score`` (R,) of the best. The last three
        compare classes alone: FCOS's centerness and a background's score stay aside.

    Raises:
        ValueError: if given boxes are not usable; UnreachedBoxError, which is one, if no prediction stands for one.
    """
    trace = detector.trace(batched_inputs, given)
    vectors = _class_scores(detector, batched_inputs, given, trace)
    own = vectors.gather(1, trace.classes[:, None])
    ranks = 1 + (vectors > own).sum(1)
    best = vectors.max(1)
    counts = [len(one) for one in given]
    parts = (values.split(counts) for values in (ranks, best.indices, best.values))
    asked = []
    for one, said, rank, label, score in zip(given, trace.instances, *parts, strict=True):
        told = {"scores": said.scores, "class_rank": rank, "best_class": label, "best_score": score}
        asked.append(Instances(one.image_size, **one.get_fields(), **told))
    return asked


def _class_scores(
    detector: UntypedModule, batched_inputs: list[dict], given: list[Instances], trace: DetectionTrace
) -> Tensor:
    """(R, K) of the boxes of all images: as the head tells them, or else by asking for the boxes in every class."""
    if hasattr(trace.head, "class_vectors"):
        return trace.head.class_vectors(trace)
    count = count_classes(detector) or 1
    every = []
    for one in given:
        rows = torch.arange(len(one)).repeat_interleave(count)
        labels = torch.arange(count).repeat(len(one))
        every.append(Instances(one.image_size, pred_boxes=one.pred_boxes[rows], pred_classes=labels))
    scores = [found.scores for found in detector.trace(batched_inputs, every).instances]
    return torch.cat(scores).view(-1, count)
