"""The figures of a crowd in one table: everybody, and those who are hidden or stand close."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from .matching import IOU_THRESHOLD, CrowdMatches, match_crowd
from .metrics import average_precision, jaccard_index, log_average_miss_rate, pool_matches
from .objects import CrowdObjects
from .protocol import DEFAULT_PROTOCOL, find_protocol

_PERCENT = 100.0


def crowd_table(
    detections: Iterable[tuple[ArrayLike, ArrayLike]],
    objects: Sequence[CrowdObjects],
    iou_threshold: float = IOU_THRESHOLD,
    subsets: Sequence[str] | None = None,
    protocol: str = DEFAULT_PROTOCOL,
) -> dict[str, dict[str, Any]]:
    """Every figure for every subset of the people.

    Args:
        detections: of each image boxes (R, 4) XYXY in its frame and scores (R,), of people alone.
        objects: of the same images in the same order.
        iou_threshold: more than this is a match.
        subsets: names out of :meth:`CrowdObjects.subsets`; None for all of them.
        protocol: "toolkit", CrowdHuman's own rules, or "strict"; docs/metrics.md has both in words.

    Returns:
        Subset -> ``objects``, their number, and in percent ``AP``, ``recall`` (of all detections given), ``MR``
        (MR^-2, less is better) and ``JI``, with its score threshold ``JI_score``. NaN (``JI_score``: None) where a
        subset is empty.

    Raises:
        ValueError: if detections and objects are of different numbers of images, or as :func:`match_crowd` says.
    """
    find_protocol(protocol)
    detections = list(detections)
    if len(detections) != len(objects):
        raise ValueError(
            f"`detections` must be of as many images as `objects`, {len(objects)}; got {len(detections)}: give an "
            "empty pair of arrays for an image without any"
        )
    pairs = zip(detections, objects)
    matches = [
        match_crowd(boxes, scores, one, iou_threshold, protocol)
        for (boxes, scores), one in tqdm(pairs, desc="matching people", total=len(objects), unit="image", delay=5)
    ]
    members = [one.subsets() for one in objects]
    names = subsets if subsets is not None else list(members[0]) if members else []
    return {
        name: _row(matches, [one[name] & match.counted for one, match in zip(members, matches)], protocol)
        for name in names
    }


def _row(matches: Sequence[CrowdMatches], within: Sequence[np.ndarray], protocol: str) -> dict[str, Any]:
    count = int(sum(members.sum() for members in within))
    scores, found = pool_matches(matches, within)
    index, threshold = jaccard_index(matches, within)
    return {
        "objects": count,
        "AP": _PERCENT * average_precision(scores, found, count, protocol),
        "recall": _PERCENT * float(found.sum()) / count if count else float("nan"),
        "MR": _PERCENT * log_average_miss_rate(scores, found, count, len(matches), protocol),
        "JI": _PERCENT * index,
        "JI_score": threshold,
    }
