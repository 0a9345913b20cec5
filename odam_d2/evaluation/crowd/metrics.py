"""AP, log-average miss rate and Jaccard index, the figures by which detectors of crowds are compared.

Shape letters: N detections of all images, P images, G people of one image.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .matching import FALSE, SCORE_THRESHOLDS, CrowdMatches
from .protocol import DEFAULT_PROTOCOL, find_protocol


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
        true, counts = _judged(one, members)
        scores.append(one.scores[counts])
        found.append(true[counts])
    return np.concatenate(scores), np.concatenate(found)


def pool_images(matches: Sequence[CrowdMatches], within: Sequence[np.ndarray]) -> np.ndarray:
    """(N,) int64: the place in `matches` of the image of each detection of :func:`pool_matches`."""
    numbers = [int(_judged(one, members)[1].sum()) for one, members in zip(matches, within, strict=True)]
    return np.repeat(np.arange(len(numbers)), numbers)


def _judged(one: CrowdMatches, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(R,) bool twice: which detections found somebody of a subset, and which count for it."""
    true = one.taken >= 0
    true[true] = members[one.taken[true]]
    return true, true | (one.taken == FALSE)


def average_precision(scores: ArrayLike, found: ArrayLike, num_objects: int, protocol: str = DEFAULT_PROTOCOL) -> float:
    """AP: an area under precision over recall.

    Args:
        scores: (N,) of the detections that count.
        found: (N,) bool, whether a detection found a person whom none before it had found.
        num_objects: people to be found.
        protocol: "toolkit" joins the points after each detection by straight lines, beginning at the first; "strict"
            has a point for each threshold and precision that falls with recall (PASCAL VOC's of 2010, unsampled).

    Returns:
        In [0, 1]; NaN without people.

    Raises:
        ValueError: if shapes differ or the protocol is unknown.
    """
    return find_protocol(protocol).average_precision(scores, found, num_objects) if num_objects else float("nan")


def log_average_miss_rate(
    scores: ArrayLike, found: ArrayLike, num_objects: int, num_images: int, protocol: str = DEFAULT_PROTOCOL
) -> float:
    """MR^-2: the geometric mean of the miss rate at nine numbers of false positives an image, .01 to 1.

    Source: Dollar et al., "Pedestrian Detection: An Evaluation of the State of the Art", TPAMI 2012.

    Args:
        scores, found, num_objects: as for :func:`average_precision`.
        num_images: P, images without people included.
        protocol: "toolkit" reads the first detection with at least so many false positives an image, the last where
            there is none; "strict" the loosest threshold with at most so many, 1 where there is none, and at least
            1e-10.

    Returns:
        In [0, 1], less is better; NaN without people.

    Raises:
        ValueError: if shapes differ or the protocol is unknown.
    """
    return find_protocol(protocol).miss_rate(scores, found, num_objects, num_images) if num_objects else float("nan")


def jaccard_index(
    matches: Sequence[CrowdMatches], within: Sequence[np.ndarray] | None = None
) -> tuple[float, float | None]:
    """JI: how well the set of detections above a threshold and the set of people agree, at the best threshold.

    In an image it is pairs / (detections + people - pairs) of the protocol's best one-to-one matching; ignored
    detections and excused people don't count. The mean is over the images in which there is a detection or a person
    that counts. Source: its use by Chu et al., "Detection in Crowded Scenes", CVPR 2020 (arXiv 2003.09163).

    Args:
        matches: of P images, by one protocol.
        within: P times (G,) bool, a subset of the people, see :func:`pool_matches`; everybody who counts when None.

    Returns:
        The index in [0, 1] and its score threshold, one of 0, .1, ... .9 (of equally good ones the lowest); NaN and
        None without people.
    """
    if within is None:
        within = [one.counted for one in matches]
    if not sum(int(members.sum()) for members in within):
        return float("nan"), None
    means = []
    for shares in jaccard_shares(matches, within).T.tolist():
        defined = [share for share in shares if share == share]
        means.append(sum(defined) / len(defined) if defined else float("nan"))
    if np.isnan(means).all():  # all of them are excused
        return float("nan"), None
    best = int(np.nanargmax(means))
    return means[best], SCORE_THRESHOLDS[best]


def jaccard_shares(matches: Sequence[CrowdMatches], within: Sequence[np.ndarray]) -> np.ndarray:
    """The index of each image at each threshold.

    Args:
        matches: of P images, by one protocol.
        within: P times (G,) bool, a subset of the people.

    Returns:
        (P, number of thresholds) float64 in [0, 1]; NaN where nobody and nothing counts.
    """
    steps = range(len(SCORE_THRESHOLDS))
    shares = [[_share(one, members, step) for step in steps] for one, members in zip(matches, within, strict=True)]
    return np.array(shares, dtype=np.float64).reshape(len(matches), len(SCORE_THRESHOLDS))


def _share(one: CrowdMatches, members: np.ndarray, step: int) -> float | None:
    """The index of one image at a threshold; None where nobody and nothing counts."""
    owners = one.one_to_one[step]
    paired = np.zeros(len(members), dtype=bool)
    paired[owners[owners >= 0]] = True
    pairs = int((paired & members).sum())
    # detections + people - pairs: what is a pair is both.
    union = pairs + int((owners == FALSE).sum()) + int((members & ~paired & ~one.excused).sum())
    return pairs / union if union else None
