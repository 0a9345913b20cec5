"""What is known of a missed object: by which mechanism, and the evidence."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Evidence:
    """The figures behind a mechanism; None where there is none, or it isn't known.

    Attributes:
        iou_threshold: t_f, the IoU from which on a box fits the object.
        threshold: the score that a pair of candidate and class must exceed to be detected.
        limit: the number that decided at the stage: how many at most, an IoU, a score.
        start_iou, start_rank, start_score: of the candidate that is nearest to the object where it begins (a proposal,
            anchor, location, query), of equally near ones the best: the IoU, its place by score among all (1 is the
            best), and that score. The score is a proposal's objectness, and elsewhere that of the object's class.
        step_ious: step -> the largest IoU of all candidates there, for the object's class.
        box_iou: of the box that the mechanism speaks of with the object; where none fits, of the best there is.
        score, class_rank: of the object's class at that candidate: the score, and its place among the classes.
        preferred_class, preferred_score: the class that the candidate prefers.
        background_score: of there being nothing at that candidate, where the head has such a score.
        margin: by how much the preferred class, or background, is ahead of the object's class.
        proposed_iou, proposed_score, proposed_rank: of the best box that never became a candidate, of the RPN's or of
            the encoder's tokens: its IoU with the object, its score, and its place among them.
        neighbour: which detection suppressed the box; None for none, or one that is no detection in the end.
        neighbour_box: (4,) XYXY of what suppressed it, in the original frame.
        neighbour_class, neighbour_score: of it.
        neighbour_iou: of the two boxes, as non-max suppression compared them.
        map_similarity: cosine of the score maps of the two.
        detection, detection_iou, detection_class, detection_score: the detection, of whatever class, that overlaps the
            object most.
        taken: detections of the object's class that fit it and yet don't count for it, since they found another.
    """

    iou_threshold: float
    threshold: float | None = None
    limit: float | None = None
    start_iou: float | None = None
    start_rank: int | None = None
    start_score: float | None = None
    step_ious: dict[str, float] = field(default_factory=dict)
    box_iou: float | None = None
    score: float | None = None
    class_rank: int | None = None
    preferred_class: int | None = None
    preferred_score: float | None = None
    background_score: float | None = None
    margin: float | None = None
    proposed_iou: float | None = None
    proposed_score: float | None = None
    proposed_rank: int | None = None
    neighbour: int | None = None
    neighbour_box: tuple[float, float, float, float] | None = None
    neighbour_class: int | None = None
    neighbour_score: float | None = None
    neighbour_iou: float | None = None
    map_similarity: float | None = None
    detection: int | None = None
    detection_iou: float | None = None
    detection_class: int | None = None
    detection_score: float | None = None
    taken: tuple[int, ...] = ()


@dataclass(frozen=True)
class Miss:
    """An annotated object that the detector missed.

    Attributes:
        object_id: of the annotation.
        box: (4,) XYXY in the original frame.
        label: the object's class.
        mechanism: a key of :data:`odam_d2.analysis.misses.MECHANISMS`, or ``unknown``.
        stage: of the detector, where the box left.
        evidence: the figures.
        sentence: all of it in plain English.
    """

    object_id: Any
    box: tuple[float, float, float, float]
    label: int
    mechanism: str
    stage: str
    evidence: Evidence
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """A dict as JSON can hold it."""
        return asdict(self)
