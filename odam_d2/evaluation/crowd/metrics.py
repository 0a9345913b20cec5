"""AP, log-average miss rate and Jaccard index, the figures by which detectors of crowds are compared.

Shape letters: N detections of all images, P images, G people of one image.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .matching import FALSE, SCORE_THRESHOLDS, CrowdMatches

# False positives an image at which the miss rate is read: nine, evenly spaced in the logarithm from .01 to 1.
REFERENCE_FPPI = np.logspace(-2, 0, 9)
_LEAST_MISS_RATE = 1e-10  # in place of 0, which has no logarithm


def pool_matches(matches: Sequence[CrowdMatches], within: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The detections of all images that count for a subset of the people.

    One that found somebody outside the subset counts neither way, as one on an ignore region does. False positives
    count for every subset. Caltech's protocol prefers people of the subset to others; in a crowd one detection of the
    person in front would then count as having found the person behind, so here everybody is matched at once.

    Args:
        matches: of P images.
        within: P times (G,) bool, who belongs to the subset.

    Returns:
        scores (N,) float64; found (N,) bool, True for somebody of the subset, False for a false positive.
    """
    scores, found = [np.zeros(0)], [np.zeros(0, dtype=bool)]
    for one, members in zip(matches, within, strict=True):
        true = one.taken >= 0
        true[true] = members[one.taken[true]]
        counts = true | (one.taken == FALSE)
        scores.append(one.scores[counts])
        found.append(true[counts])
    return np.concatenate(scores), np.concatenate(found)


def _curve(scores: ArrayLike, found: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives at each threshold that matters, strictest first; equal scores pass together."""
    confidence, right = np.asarray(scores, dtype=np.float64), np.asarray(found, dtype=bool)
    if confidence.shape != right.shape or confidence.ndim != 1:
        raise ValueError(
            f"`scores` and `found` must be (N,) of the same detections; got {confidence.shape} and {right.shape}: take "
            "both from `pool_matches`"
        )
    order = np.argsort(-confidence, kind="stable")
    confidence, right = confidence[order], right[order]
    last = np.flatnonzero(np.append(confidence[1:] != confidence[:-1], True)[: len(confidence)])
    true = np.cumsum(right)[last]
    return true, last + 1 - true


def average_precision(scores: ArrayLike, found: ArrayLike, num_objects: int) -> float:
    """Area under precision over recall, precision made to fall with recall (PASCAL VOC's of 2010, unsampled).

    CrowdHuman's toolkit joins the points of the raw curve by straight lines instead, beginning at the first detection.

    Args:
        scores: (N,) of the detections that count.
        found: (N,) bool, whether a detection found a person whom none before it had found.
        num_objects: people to be found.

    Returns:
        In [0, 1]; NaN without people.
    """
    true, false = _curve(scores, found)
    if num_objects == 0:
        return float("nan")
    precision = np.maximum.accumulate((true / np.maximum(true + false, 1))[::-1])[::-1]
    return float(np.sum(np.diff(true, prepend=0) * precision) / num_objects)


def log_average_miss_rate(scores: ArrayLike, found: ArrayLike, num_objects: int, num_images: int) -> float:
    """MR^-2: the geometric mean of the miss rate at nine numbers of false positives an image, .01 to 1.

    At each of the nine it is the rate at the loosest threshold with at most so many false positives an image, 1 where
    there is none, and at least 1e-10. Source: Dollar et al., "Pedestrian Detection: An Evaluation of the State of the
    Art", TPAMI 2012. (CrowdHuman's toolkit takes the first threshold with at least so many.)

    Args:
        scores, found, num_objects: as for :func:`average_precision`.
        num_images: P, images without people included.

    Returns:
        In [0, 1], less is better; NaN without people.
    """
    true, false = _curve(scores, found)
    if num_objects == 0:
        return float("nan")
    miss_rate = np.append(1.0, 1 - true / num_objects)  # the first: a threshold that nothing passes
    point = np.searchsorted(np.append(0, false) / num_images, REFERENCE_FPPI, side="right") - 1
    return float(np.exp(np.log(np.maximum(miss_rate[point], _LEAST_MISS_RATE)).mean()))


def jaccard_index(
    matches: Sequence[CrowdMatches], within: Sequence[np.ndarray] | None = None
) -> tuple[float, float | None]:
    """JI: how well the set of detections above a threshold and the set of people agree, at the best threshold.

    In an image it is pairs / (detections + people - pairs) of the largest one-to-one matching; ignored detections
    don't count. The mean is over the images in which there is a detection or a person. Source: its use by Chu et al.,
    "Detection in Crowded Scenes", CVPR 2020 (arXiv 2003.09163).

    Args:
        matches: of P images.
        within: P times (G,) bool, a subset of the people, see :func:`pool_matches`; everybody when None.

    Returns:
        The index in [0, 1] and its score threshold, one of 0, .1, ... .9 (of equally good ones the lowest); NaN and
        None without people.
    """
    if within is None:
        within = [np.ones(one.iou.shape[1], dtype=bool) for one in matches]
    people = np.array([members.sum() for members in within])
    if not people.sum():
        return float("nan"), None
    means = []
    for step in range(len(SCORE_THRESHOLDS)):
        owners = [one.one_to_one[step] for one in matches]
        false = np.array([(owner == FALSE).sum() for owner in owners])
        pairs = np.array([members[owner[owner >= 0]].sum() for members, owner in zip(within, owners, strict=True)])
        # detections + people - pairs: what is a pair is both.
        union = false + people
        means.append(float((pairs[union > 0] / union[union > 0]).mean()))
    best = int(np.argmax(means))
    return means[best], SCORE_THRESHOLDS[best]
