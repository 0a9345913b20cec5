"""The mechanisms by which objects are missed, in the order in which they are tried: the first that holds is told.

A candidate is a proposal, an anchor, a location or a query. It *fits* the object if its box in the end, as it is
reported, overlaps it by t_f or more. Candidates whose detection fits the object but found another one are left aside.

Source: Miller et al., "What's in the Black Box? The False Negative Mechanisms Inside Object Detectors", RA-L 2022
(arXiv 2203.07662). Here each mechanism is defined for all families, and by the detector's own thresholds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ...utils.registry import NamedRegistry
from . import words
from .choice import Neighbour, Suppression
from .miss import Evidence
from .replay import Candidates
from .seen import SeenObject


@dataclass(frozen=True)
class Found:
    """A mechanism that holds.

    Attributes:
        stage: see :class:`odam_d2.analysis.misses.Miss`.
        evidence: see there.
        sentence: see there.
        pair: the candidate and class that were suppressed by `neighbour`.
        neighbour: what suppressed it.
    """

    stage: str
    evidence: Evidence
    sentence: str
    pair: tuple[int, int] | None = None
    neighbour: Neighbour | None = None


#: Mechanisms by name, in their order. Each takes an object and gives what is found where it holds, else None.
MECHANISMS: NamedRegistry[Callable[[SeenObject], Found | None]] = NamedRegistry("mechanisms of misses")
UNKNOWN = "unknown"


@MECHANISMS.register_as("no_candidate")
def no_candidate(one: SeenObject) -> Found | None:
    """No candidate is near at any step: neither where they begin nor where they end, nor between.

    A candidate that begins farther off and fits in the end has reached the object all the same.

    Stages: that at which the nearest box of those that candidates are chosen among left (``rpn_pre_nms_topk``,
    ``rpn_min_size``, ``rpn_nms``, ``rpn_post_nms_topk``, ``query_selection``); where none of them was near, or it isn't
    known, the step where candidates begin (``proposals``, ``anchors``, ``locations``, ``queries``, ``encoder``).
    """
    fits = [bool((overlap[one.free] >= one.rules.iou_threshold).any()) for overlap in one.overlaps]
    if any(fits) or _has_other(one):
        return None
    candidates = one.candidates
    stage, more = _left_before(one)
    evidence = one.evidence(box_iou=float(one.overlaps[-1][one.free].max()) if bool(one.free.any()) else None, **more)
    sentence = words.nearest(candidates.noun, evidence)
    if candidates.before is not None and "limit" in more:
        sentence += words.never_proposed(stage, evidence, candidates.before.noun)
    return Found(stage, evidence, sentence)


@MECHANISMS.register_as("regressed_away")
def regressed_away(one: SeenObject) -> Found | None:
    """A candidate was near, but in the end no box fits: of the object's class, or of another that scores enough.

    Stages: the step behind the last one at which a box was near (``box_head``, ``box_head_1`` ..., ``box_regression``,
    ``decoder_layer_1`` ...).
    """
    if len(one.fitting) or _has_other(one):
        return None
    largest = [float(overlap[one.free].max()) for overlap in one.overlaps]
    last = max(step for step, iou in enumerate(largest) if iou >= one.rules.iou_threshold)
    stage = one.candidates.every_step[last + 1].name
    evidence = one.evidence(box_iou=largest[-1])
    noun = "" if last else one.candidates.noun
    return Found(
        stage, evidence, words.moved_away(noun, stage, largest[last], largest[last + 1], one.rules.iou_threshold)
    )


@MECHANISMS.register_as(UNKNOWN)
def unknown_choice(one: SeenObject) -> Found | None:
    """A box fits, and the detector chooses in a way of its own, so that nobody can tell what became of it."""
    if one.candidates.is_choice_known:
        return None
    said = one.said_of(one.best) if len(one.fitting) else {}
    evidence = one.evidence(**said)
    why = "the detector chooses its detections in a way of its own"
    return Found("choice", evidence, words.unknown(why, evidence, one.seen))


@MECHANISMS.register_as("other_class")
def other_class(one: SeenObject) -> Found | None:
    """A fitting box scores enough for another class, and more than any does for the object's.

    A box that overlaps another annotated object of that class more is not meant. Where a query says but its likeliest
    class, it also holds if the object's class scored enough and was not the likeliest.

    Stage: ``score_filter``, or ``class_choice`` for such queries.
    """
    scores, pair, stage = one.candidates.scores, one.other, "score_filter"
    own = float(scores[one.best, one.label]) if len(one.fitting) else -1.0
    if pair is None or not float(scores[pair]) > own:
        pair, stage = _not_likeliest(one), "class_choice"
    if pair is None:
        return None
    said = one.said_of(*pair)
    # For boxes of its own that class may fit where the object's class doesn't.
    overlap = one.candidates.last.overlaps(one.box, pair[1])[pair[0]]
    evidence = one.evidence(**{**said, "box_iou": float(overlap), "limit": one.threshold})
    return Found(stage, evidence, words.given_another(evidence, one.seen.name(pair[1]), one.seen.name(one.label)))


@MECHANISMS.register_as("background")
def background(one: SeenObject) -> Found | None:
    """No fitting box scores enough for the object's class, and at the best of them there is rather nothing.

    That is: background scores more than the object's class; or, where the head has no score for it, no class reaches
    ``background_score``.

    Stage: ``score_filter``, or ``score_threshold`` where the rules' own threshold is the higher one.
    """
    if len(one.passing):
        return None
    said, most = one.said_of(one.best), float(one.candidates.scores[one.best].max())
    nothing = said["background_score"]
    if (nothing <= said["score"]) if nothing is not None else (most >= one.rules.background_score):
        return None
    if nothing is not None:
        said |= {"margin": nothing - said["score"], "preferred_class": None, "preferred_score": None}
    evidence = one.evidence(**said, limit=one.threshold)
    return Found(_filter_of(one), evidence, words.called_background(evidence, one.seen.name(one.label), most))


@MECHANISMS.register_as("suppressed")
def suppressed(one: SeenObject) -> Found | None:
    """A fitting box scores enough, and was left out for others' sake.

    Of several such boxes that one is told which got farthest, and of these the one that fits best.

    Stages: ``nms``, with the neighbour that suppressed it; else the limit that it fell to: ``pre_nms_topk``,
    ``max_candidates`` (of Odam-NMS), ``max_detections``; or ``left_out``, by whoever handed over the detections.
    """
    if not len(one.passing):
        return None
    row, number = _farthest(one)
    stage = one.candidates.choice[number]
    more: dict[str, Any] = {**one.said_of(row), "limit": stage.limit}
    neighbour = stage.neighbour(row, one.label) if isinstance(stage, Suppression) else None
    if neighbour is not None:
        image = one.seen.image
        same = (image.rows == neighbour.row) & (image.detections.pred_classes == neighbour.label) & one.seen.counted
        more |= _neighbour(one, one.candidates, neighbour)
        more["neighbour"] = one.seen.number(int(same.nonzero()[0, 0])) if bool(same.any()) else None
    evidence = one.evidence(**more)
    sentence = words.suppressed(evidence, stage.name)
    return Found(stage.name, evidence, sentence, (row, one.label), neighbour)


@MECHANISMS.register_as("low_score")
def low_score(one: SeenObject) -> Found:
    """What is left: a box fits, and its score for the object's class does not exceed the threshold.

    Stage: as for :func:`background`.
    """
    evidence = one.evidence(**one.said_of(one.best), limit=one.threshold)
    return Found(_filter_of(one), evidence, words.scored_low(evidence, one.seen.name(one.label)))


def _has_other(one: SeenObject) -> bool:
    """Whether a box of another class fits that is, or might be, reported."""
    return one.other is not None if one.candidates.is_choice_known else one.fits_in_any_class


def _left_before(one: SeenObject) -> tuple[str, dict[str, Any]]:
    """Where the nearest of the boxes that candidates are chosen among left, and figures of it."""
    begin, before = one.candidates.every_step[0].name, one.candidates.before
    if before is None:
        return begin, {}
    overlaps = before.last.overlaps(one.box, 0)
    near = (overlaps >= one.rules.iou_threshold).nonzero()[:, 0]
    left = before.left_at(near, 0)
    near, left = near[left < len(before.choice)], left[left < len(before.choice)]
    figures = {} if not len(overlaps) else _proposed(one, int(overlaps.argmax()))
    if not len(near):
        return begin, figures
    near = near[left == left.max()]
    row, stage = int(near[overlaps[near].argmax()]), before.choice[int(left.max())]
    figures = _proposed(one, row) | {"limit": stage.limit}
    if isinstance(stage, Suppression):
        figures |= _neighbour(one, before, stage.neighbour(row, 0)) | {"neighbour_class": None}
    return stage.name, figures


def _proposed(one: SeenObject, row: int) -> dict[str, Any]:
    before = one.candidates.before
    assert before is not None  # the caller asks
    scores = before.scores[:, 0]
    return {
        "proposed_iou": float(before.last.overlaps(one.box, 0)[row]),
        "proposed_score": float(scores[row]),
        "proposed_rank": 1 + int((scores > scores[row]).sum()),
    }


def _neighbour(one: SeenObject, candidates: Candidates, neighbour: Neighbour) -> dict[str, Any]:
    return {
        "neighbour_box": tuple(one.seen.image.to_output(neighbour.box)),
        "neighbour_class": neighbour.label,
        "neighbour_score": float(candidates.scores[neighbour.row, neighbour.label]),
        "neighbour_iou": neighbour.iou,
    }


def _farthest(one: SeenObject) -> tuple[int, int]:
    """Of the passing candidates the one that got farthest, of these the one that fits best, and where it left."""
    left = one.candidates.left_at(one.passing, one.label)
    rows = one.passing[left == left.max()]
    return int(rows[one.overlaps[-1][rows].argmax()]), int(left.max())


def _not_likeliest(one: SeenObject) -> tuple[int, int] | None:
    """A passing candidate that was lost since it has a likelier class, with this class."""
    if not len(one.passing):
        return None
    row, number = _farthest(one)
    if one.candidates.choice[number].name != "class_choice":
        return None
    return row, int(one.candidates.scores[row].argmax())


def _filter_of(one: SeenObject) -> str:
    """The first stage that asks the best fitting box for more than it scores."""
    rows = torch.tensor([one.best], device=one.box.device)
    return next(stage.name for stage in one.candidates.filters if not bool(stage.survives(rows, one.label)))
