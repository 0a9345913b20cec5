"""Verdicts on detections in the rows of a run on disk."""

from collections.abc import Sequence
from dataclasses import replace

from ..store import AnnotationRow, DetectionRow
from .image_errors import ImageErrors
from .verdicts import Verdict

CORRECT = "correct"


def verdict_word(verdict: Verdict) -> str:
    """A verdict as a run's rows have it: ``correct``, or the word of an error."""
    return CORRECT if verdict is Verdict.TRUE_POSITIVE else verdict.word


def with_verdicts(
    rows: Sequence[DetectionRow], errors: ImageErrors, annotations: Sequence[AnnotationRow]
) -> list[DetectionRow]:
    """Detections with their verdicts, the annotation that each is judged against, and the overlap with it.

    Args:
        rows: R detections of an image.
        errors: the verdicts on them.
        annotations: rows of the image's annotations, with the ids that the verdicts name.
    """
    places = {one.id: place for place, one in enumerate(annotations)}
    judged = []
    for k, (row, verdict) in enumerate(zip(rows, errors.verdicts, strict=True)):
        number, region = int(errors.objects[k]), int(errors.regions[k])
        name = errors.region_ids[region] if region >= 0 else errors.object_ids[number] if number >= 0 else None
        iou = None if region >= 0 else float(errors.iou[k])
        place = places.get(name)
        hidden = None if place is None else annotations[place].occlusion
        judged.append(replace(row, verdict=verdict_word(verdict), annotation=place, iou=iou, occlusion=hidden))
    return judged
