"""What is explained of each kind of mistake in an image, and what a method's maps of it are worth.

Shape letters: R explained boxes of one image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from odam_d2.analysis import ImageErrors, Verdict
from odam_d2.evaluation import METRICS
from odam_d2.evaluation.ground_truth import TrueObjects
from odam_d2.evaluation.metrics.faithfulness import ScoreObjects
from odam_d2.evaluation.metrics.metric import ExplainedObjects
from odam_d2.structures import HeatMaps

# Kinds of detections, each with its verdict; missed objects have none.
VERDICTS = {
    "true_positive": Verdict.TRUE_POSITIVE,
    "classification": Verdict.CLASSIFICATION,
    "localisation": Verdict.LOCALISATION,
    "background": Verdict.BACKGROUND,
}
MISSED = "missed"
KINDS = (*VERDICTS, MISSED)
# Of the explained box, or, behind "_mask", of the annotated object that it is judged against.
MEASURED = ("deletion", "insertion", "pointing_box", "energy_box", "pointing_mask", "energy_mask", "untouched")


@dataclass(frozen=True)
class Subject:
    """What is explained.

    Attributes:
        kind: one of :data:`KINDS`.
        row: of the detection, or, of missed objects, of the object.
        object: of the annotated object that it is judged against; -1 for none.
    """

    kind: str
    row: int
    object: int


def choose(
    errors: ImageErrors, missed: np.ndarray, room: Mapping[str, int], per_image: int, seed: Sequence[int]
) -> list[Subject]:
    """At most `per_image` subjects of each kind, drawn at random.

    Args:
        errors: the verdicts on the image's detections.
        missed: (G,) bool, the objects that count as missed.
        room: how many are still wanted of each kind.
        per_image: see above.
        seed: of the draw.
    """
    generator, verdicts, chosen = np.random.default_rng(seed), errors.verdicts, []
    for kind in KINDS:
        # Drawn also where there is no room, so that the room doesn't decide what is drawn of the next kind.
        rows = [k for k, one in enumerate(verdicts) if one == VERDICTS.get(kind)]
        rows = np.flatnonzero(missed).tolist() if kind == MISSED else rows
        drawn = sorted(generator.permutation(rows)[:per_image].tolist())
        for row in [int(one) for one in drawn][: max(room[kind], 0)]:
            found = row if kind == MISSED else int(errors.objects[row])
            chosen.append(Subject(kind, row, -1 if kind == "background" else found))
    return chosen


def as_objects(boxes: Tensor, classes: Tensor, subjects: Sequence[Subject], truth: TrueObjects) -> TrueObjects:
    """The explained boxes as metrics take objects: each with the mask of the object that it is judged against.

    Args:
        boxes: (R, 4) XYXY in the original frame.
        classes: (R,) int64, those that are explained.
        subjects: R.
        truth: the image's objects.
    """
    masks = [truth.segmentations[one.object] if one.object >= 0 else None for one in subjects]
    names = [truth.ids[one.object] if one.object >= 0 else None for one in subjects]
    return TrueObjects(truth.size, boxes, classes, names, masks, {})


def given_boxes(truth: TrueObjects, subjects: Sequence[Subject]) -> Instances:
    """Annotated boxes and classes of missed objects, to be explained."""
    rows = torch.tensor([one.row for one in subjects], dtype=torch.int64)
    return Instances(truth.size, pred_boxes=Boxes(truth.boxes[rows]), pred_classes=truth.classes[rows])


def values_of(
    heatmaps: Mapping[str, HeatMaps],
    objects: TrueObjects,
    image: Tensor,
    score: ScoreObjects | None,
    metrics: Sequence[str],
    seed: int,
    steps: Sequence[int],
) -> list[dict[str, dict[str, float | None]]]:
    """For each of R explained boxes: method -> metric -> value; None where there is none.

    Args:
        heatmaps: method -> R maps.
        objects: see :func:`as_objects`.
        image: (3, h, w) the model input.
        score: asks the detector; None where no metric does.
        metrics: some of :data:`MEASURED`.
        seed: of deletion's noise.
        steps: at which deletion and insertion score.
    """
    rows: list[dict[str, Any]] = [{} for _ in objects.ids]
    for method, maps in heatmaps.items():
        everyone = torch.arange(len(objects.ids))
        seen = ExplainedObjects(maps, "score", everyone, objects, image, score, seed=seed, steps=steps)
        columns = {name: METRICS[name].measure(seen).tolist() for name in metrics}
        for number, row in enumerate(rows):
            row[method] = {name: None if np.isnan(one[number]) else one[number] for name, one in columns.items()}
    return rows
