"""Average precision of each class from compact arrays, as errors are weighed by it.

Shape letters: n detections, K classes.
"""

import numpy as np

RECALLS = np.arange(101) / 100


def average_precisions(
    classes: np.ndarray, scores: np.ndarray, right: np.ndarray, objects: np.ndarray, num_classes: int
) -> np.ndarray:
    """AP of each class at one IoU.

    The mean over :data:`RECALLS` of the highest precision at that recall or more, as COCO has it. Departs from COCO
    where a class has detections and no object: that class has AP 0, as in TIDE, and COCO leaves it out.

    Args:
        classes: (n,) integers, 0 .. K - 1.
        scores: (n,); of equal ones the first comes first.
        right: (n,) bool, true positives.
        objects: (K,) how many there are of each class.
        num_classes: K.

    Returns:
        (K,) float64 in [0, 100]; NaN for a class without detections and objects.
    """
    order = np.lexsort((-scores, classes))  # stable
    right, starts = right[order], np.searchsorted(classes[order], np.arange(num_classes + 1))
    found = np.full(num_classes, np.nan)
    for label in range(num_classes):
        mine = right[starts[label] : starts[label + 1]]
        if len(mine) or objects[label]:
            found[label] = _average_precision(mine, int(objects[label]))
    return found


def _average_precision(right: np.ndarray, objects: int) -> float:
    if objects == 0 or not len(right):
        return 0.0
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(hits / objects, RECALLS, side="left")
    return 100.0 * float(np.append(envelope, 0.0)[place].mean())
