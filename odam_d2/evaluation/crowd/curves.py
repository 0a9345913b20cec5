"""Areas and rates off the curve of pooled detections, by either protocol.

Shape letters: N detections of all images.
"""

import numpy as np
from numpy.typing import ArrayLike

# False positives an image at which CrowdHuman's toolkit reads the miss rate: ten to the -2, -1.75, ... 0, rounded as it
# has them.
TOOLKIT_FPPI = (0.0100, 0.0178, 0.0316, 0.0562, 0.1000, 0.1778, 0.3162, 0.5623, 1.000)
# The same, not rounded.
REFERENCE_FPPI = np.array([0.01, 10**-1.75, 10**-1.5, 10**-1.25, 0.1, 10**-0.75, 10**-0.5, 10**-0.25, 1.0])
_LEAST_MISS_RATE = 1e-10  # in place of 0, which has no logarithm


def _ordered(scores: ArrayLike, found: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both by falling score; of equal scores the earlier row comes first."""
    confidence, right = np.asarray(scores, dtype=np.float64), np.asarray(found, dtype=bool)
    if confidence.shape != right.shape or confidence.ndim != 1:
        raise ValueError(
            f"`scores` and `found` must be (N,) of the same detections; got {confidence.shape} and {right.shape}: take "
            "both from `pool_matches`"
        )
    order = np.argsort(-confidence, kind="stable")
    return confidence[order], right[order]


def raw_points(scores: ArrayLike, found: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives (N,) after each detection, best score first."""
    _, right = _ordered(scores, found)
    true = np.cumsum(right)
    return true, np.arange(1, len(right) + 1) - true


def points_at_thresholds(scores: ArrayLike, found: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives at each threshold that matters, strictest first; equal scores pass together."""
    confidence, _ = _ordered(scores, found)
    true, false = raw_points(scores, found)
    last = np.flatnonzero(np.append(confidence[1:] != confidence[:-1], True)[: len(confidence)])
    return true[last], false[last]


def area_between_points(true: np.ndarray, false: np.ndarray, num_objects: int) -> float:
    """Area under straight lines between the (recall, precision) points, from the first point on."""
    recall, precision = true / num_objects, true / np.maximum(true + false, 1)
    return float(np.sum(np.diff(recall) * (precision[:-1] + precision[1:]) / 2))


def area_under_falling_precision(true: np.ndarray, false: np.ndarray, num_objects: int) -> float:
    """Area under precision over recall, precision made to fall with recall (PASCAL VOC's of 2010, unsampled)."""
    precision = np.maximum.accumulate((true / np.maximum(true + false, 1))[::-1])[::-1]
    return float(np.sum(np.diff(true, prepend=0) * precision) / num_objects)


def miss_rate_from_above(true: np.ndarray, false: np.ndarray, num_objects: int, num_images: int) -> float:
    """Geometric mean of the miss rate at the first points with at least TOOLKIT_FPPI, the last where there is none.

    0 if one of the nine is 0, and 1 without any point.
    """
    if not len(true):
        return 1.0
    miss_rate = 1.0 - true / num_objects
    point = np.minimum(np.searchsorted(false / num_images, TOOLKIT_FPPI, side="left"), len(true) - 1)
    with np.errstate(divide="ignore"):
        return float(np.exp(np.log(miss_rate[point]).mean()))


def miss_rate_from_below(true: np.ndarray, false: np.ndarray, num_objects: int, num_images: int) -> float:
    """Geometric mean of the miss rate at the last points with at most REFERENCE_FPPI.

    1 where there is no such point, and at least 1e-10.
    """
    miss_rate = np.append(1.0, 1 - true / num_objects)  # the first: a threshold that nothing passes
    point = np.searchsorted(np.append(0, false) / num_images, REFERENCE_FPPI, side="right") - 1
    return float(np.exp(np.log(np.maximum(miss_rate[point], _LEAST_MISS_RATE)).mean()))
