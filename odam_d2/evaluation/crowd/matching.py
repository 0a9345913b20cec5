"""Which detection is which person, where some regions are to be ignored.

Shape letters: R detections, G people of one image.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

from ...data.matching import match_greedily
from .objects import CrowdObjects, overlaps
from .protocol import DEFAULT_PROTOCOL, CrowdProtocol, find_protocol

FALSE, IGNORED = -1, -2  # in place of the number of a person
IOU_THRESHOLD = 0.5
SCORE_THRESHOLDS = tuple(step / 10 for step in range(10))


@dataclass
class CrowdMatches:
    """What became of an image's detections.

    Attributes:
        scores: (R,) float64, falling.
        taken: (R,) int64 by the walk of AP and MR: the row of the person that a detection found, or FALSE, or IGNORED.
        iou: (R, G) float64.
        on_ignored: (R,) bool, whether more than the threshold of a detection's area lies on one ignore region.
        counted: (G,) bool, who is to be found.
        excused: (G,) bool, whom JI leaves out unless a detection is paired with them.
        iou_threshold: what all this was decided with.
        protocol: by whose rules.
    """

    scores: np.ndarray
    taken: np.ndarray
    iou: np.ndarray
    on_ignored: np.ndarray
    counted: np.ndarray
    excused: np.ndarray
    iou_threshold: float
    protocol: CrowdProtocol

    @cached_property
    def one_to_one(self) -> list[np.ndarray]:
        """For each of SCORE_THRESHOLDS, as `taken`, for the detections that pass it, by the protocol's best set of
        pairs instead of the walk."""
        return [self._assign(self.protocol.passing(self.scores, threshold)) for threshold in SCORE_THRESHOLDS]

    def _assign(self, count: int) -> np.ndarray:
        owners = np.where(self.on_ignored[:count], IGNORED, FALSE)
        rows = np.flatnonzero((self.iou[:count] > self.iou_threshold).any(axis=1))
        weights = self.protocol.pair_weights(self.iou[rows], self.iou_threshold)
        chosen, people = linear_sum_assignment(weights, maximize=True)
        paired = weights[chosen, people] > 0
        owners[rows[chosen[paired]]] = people[paired]
        return owners


def match_crowd(
    boxes: ArrayLike,
    scores: ArrayLike,
    objects: CrowdObjects,
    iou_threshold: float = IOU_THRESHOLD,
    protocol: str = DEFAULT_PROTOCOL,
) -> CrowdMatches:
    """:func:`odam_d2.data.matching.match_greedily` for people, with ignore regions.

    Who takes nobody is ignored if more than `iou_threshold` of its own area lies on one ignore region, and else false.
    A person goes before an ignore region, and any number of detections fit into one of those.

    Args:
        boxes: (R, 4) XYXY of the detections, in the frame of the image.
        scores: (R,) in any order; of equal ones the earlier row chooses first.
        objects: of the image.
        iou_threshold: a pair must overlap by *more* than this.
        protocol: a name of PROTOCOLS: how boxes are cut to the image, and by which rules JI pairs.

    Raises:
        ValueError: if shapes don't fit each other, a number isn't finite, the threshold is no IoU, or the protocol is
            unknown.
    """
    rules = find_protocol(protocol)
    if not 0.0 <= iou_threshold < 1.0:
        raise ValueError(f"`iou_threshold` must be in [0, 1); got {iou_threshold}: CrowdHuman takes .5")
    found, confidence = np.asarray(boxes, dtype=np.float64).reshape(-1, 4), np.asarray(scores, dtype=np.float64)
    if confidence.shape != (len(found),):
        raise ValueError(
            f"`scores` must be ({len(found)},), one for each of `boxes`; got {confidence.shape}: give both of the same "
            "detections"
        )
    if not (np.isfinite(found).all() and np.isfinite(confidence).all()):
        raise ValueError("`boxes` and `scores` must be finite; got NaN or infinity: leave such detections out")
    order = np.argsort(-confidence, kind="stable")
    found, people, regions = (rules.clip(one, objects.size) for one in (found[order], objects.boxes, objects.ignored))
    iou = overlaps(found, people)
    on_ignored = np.asarray((overlaps(found, regions, of_box=True) > iou_threshold).any(axis=1))
    persons = match_greedily(iou, confidence[order], iou_threshold)
    taken = np.where(persons >= 0, persons, np.where(on_ignored, IGNORED, FALSE))
    excused = rules.excused(people, regions, iou_threshold)
    return CrowdMatches(confidence[order], taken, iou, on_ignored, rules.counted(people), excused, iou_threshold, rules)
