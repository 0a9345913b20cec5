"""Misses in plain English."""

import math

from .miss import Evidence
from .seen import SeenImage

# That no candidate is near, by what candidates are called.
NEAREST = {
    "proposal": "The best proposal overlaps it by {begins}, and in the end no box fits it.",
    "anchor": "The best anchor overlaps it by {begins}, and in the end no box fits it.",
    "location": "The best box that a location can make overlaps it by {begins}, and in the end no box fits it.",
    "query": "No query came near it: the best box overlaps it by {ends}.",
}
# Who moves boxes to a step.
MOVERS = {
    "box_head": "the box head",
    "box_regression": "the box regression",
    "rpn_boxes": "the proposal network",
    "queries": "the decoder",
}
# What became of a box that never became a candidate, by the stage at which it left.
NEVER_PROPOSED = {
    "rpn_pre_nms_topk": "it was not among the {limit} best of its level",
    "rpn_min_size": "it was not larger than {limit} pixels",
    "rpn_nms": "a better one that overlaps it by {neighbour} suppressed it",
    "rpn_post_nms_topk": "it was not among the {limit} best, which become proposals",
    "query_selection": "it was not among the {limit} best, which become queries",
}
# How a candidate that was near is told where it begins.
BEGINS = {
    "proposal": "A proposal",
    "anchor": "An anchor",
    "location": "A box that a location could make",
    "query": "A box",
}
# Why a pair that scores enough was not detected, where no neighbour is to blame; stages of the RPN without its name.
LIMITS = {
    "min_size": "was not larger than {limit} pixels",
    "post_nms_topk": "was not among the {limit} best, which are proposed",
    "pre_nms_topk": "was not among the {limit} best of its level, which non-max suppression compares",
    "max_candidates": "was not among the {limit} best, which non-max suppression compares",
    "max_detections": "was left when the {limit} best detections were taken",
    "left_out": "was detected, and left out of the detections that count",
}


def number(value: float | None, below: float | None = None) -> str:
    """A share or score, ``.31`` or ``1.00``; one that lies below a threshold, or on it, is not rounded up to it."""
    value = value or 0.0
    text = f"{value:.2f}"
    if below is not None and value <= below <= float(text):
        text = f"{math.floor(100 * value) / 100:.2f}"
    return text[1:] if text.startswith("0") else text


def count(value: float | None) -> str:
    """A limit: ``1000``, ``.5``."""
    text = f"{value or 0.0:g}"
    return text[1:] if text.startswith("0.") else text


def nearest(noun: str, evidence: Evidence) -> str:
    """How near candidates are."""
    if evidence.start_iou is None:
        return f"There is no {noun}."
    begins, ends = (number(iou, evidence.iou_threshold) for iou in (evidence.start_iou, evidence.box_iou))
    return NEAREST[noun].format(begins=begins, ends=ends)


def never_proposed(stage: str, evidence: Evidence, before: str) -> str:
    """What became of the best box among what candidates are chosen from; follows another sentence."""
    box = f" A box of the {'encoder' if before == 'token' else 'proposal network'} overlaps it by"
    reason = NEVER_PROPOSED[stage].format(limit=count(evidence.limit), neighbour=number(evidence.neighbour_iou))
    return f"{box} {number(evidence.proposed_iou)} (score {number(evidence.proposed_score)}), but {reason}."


def moved_away(noun: str, stage: str, before: float, after: float, limit: float) -> str:
    """Where a box was lost that had been near; `noun` is a candidate's where it was lost at once, else empty."""
    mover = MOVERS.get(stage, stage.replace("_", " "))
    near = f"{BEGINS.get(noun, 'A box')} overlaps it by {number(before)}"
    return f"{near}, but {mover} left no box there: the best then overlaps it by {number(after, limit)}."


def given_another(evidence: Evidence, preferred: str, own: str) -> str:
    """A box of another class."""
    return (
        f"A box that overlaps it by {number(evidence.box_iou)} was taken for {preferred} "
        f"({number(evidence.preferred_score)}), not {own} ({number(evidence.score)})."
    )


def called_background(evidence: Evidence, own: str, best: float) -> str:
    """A box of nothing."""
    box = f"A box that overlaps it by {number(evidence.box_iou)} was called background"
    own_score = number(evidence.score, evidence.threshold)
    if evidence.background_score is None:
        return f"{box}: no class scores more than {number(best)} there, {own} {own_score}."
    return f"{box} ({number(evidence.background_score)}), not {own} ({own_score})."


def scored_low(evidence: Evidence, own: str) -> str:
    """A box that was right."""
    return (
        f"A box that overlaps it by {number(evidence.box_iou)} scores {number(evidence.score, evidence.threshold)} for "
        f"{own}, which is not above the threshold of {count(evidence.threshold)}."
    )


def suppressed(evidence: Evidence, stage: str) -> str:
    """A box that scored enough."""
    box = f"A box that overlaps it by {number(evidence.box_iou)} (score {number(evidence.score)})"
    if evidence.neighbour_iou is None:
        return f"{box} {LIMITS[stage.removeprefix('rpn_')].format(limit=count(evidence.limit))}."
    who = "a better box" if evidence.neighbour is None else f"detection {evidence.neighbour}"
    return (
        f"{box} was suppressed by {who} (score {number(evidence.neighbour_score)}), which overlaps that box by "
        f"{number(evidence.neighbour_iou)}."
    )


def alike(similarity: float) -> str:
    """What is said of the maps of a suppressed box and its neighbour, to follow a sentence."""
    return f" The likeness of their maps is {number(similarity)}."


def unknown(why: str, evidence: Evidence, seen: SeenImage) -> str:
    """Nothing is guessed."""
    text = f"What became of it is not known, since {why}."
    if evidence.detection is None or evidence.detection_class is None:
        return f"{text} No detection overlaps it."
    return (
        f"{text} The nearest is detection {evidence.detection}, {seen.name(evidence.detection_class)} "
        f"({number(evidence.detection_score)}), which overlaps it by {number(evidence.detection_iou)}."
    )


def beside(evidence: Evidence) -> str:
    """What is said of detections that fit and don't count for the object, to follow a sentence; empty for none."""
    if not evidence.taken:
        return ""
    several = len(evidence.taken) > 1
    who = f"Detections {', '.join(map(str, evidence.taken))} fit" if several else f"Detection {evidence.taken[0]} fits"
    return f" {who} it too, but {'count' if several else 'counts'} for another object."
