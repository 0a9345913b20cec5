"""The rules by which a crowd is scored: those of CrowdHuman's toolkit, which published tables have, and stricter ones.

Shape letters: N detections of all images, R detections, G people, I ignore regions of one image.
"""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import ArrayLike

from ...utils.registry import NamedRegistry
from .curves import (
    area_between_points,
    area_under_falling_precision,
    miss_rate_from_above,
    miss_rate_from_below,
    points_at_thresholds,
    raw_points,
)
from .objects import areas, overlaps

DEFAULT_PROTOCOL = "toolkit"


class CrowdProtocol(ABC):
    """What two ways of scoring a crowd do differently; docs/metrics.md has the rules in words."""

    @abstractmethod
    def clip(self, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """(N, 4) XYXY boxes, of detections, people or regions, cut to an image of (h, w) `size`."""

    @abstractmethod
    def counted(self, boxes: np.ndarray) -> np.ndarray:
        """(G,) bool: whether a person is to be found; `boxes` are cut."""

    @abstractmethod
    def excused(self, boxes: np.ndarray, regions: np.ndarray, iou_threshold: float) -> np.ndarray:
        """(G,) bool: whether JI leaves a person out whom no detection is paired with; boxes and regions are cut."""

    @abstractmethod
    def passing(self, scores: np.ndarray, threshold: float) -> int:
        """How many of the (R,) falling scores pass a threshold of JI."""

    @abstractmethod
    def pair_weights(self, iou: np.ndarray, iou_threshold: float) -> np.ndarray:
        """(R, G): what a pair adds to a matching of JI, of which the heaviest is taken; 0 for what is no pair."""

    @abstractmethod
    def average_precision(self, scores: ArrayLike, found: ArrayLike, num_objects: int) -> float:
        """In [0, 1], of (N,) pooled detections and at least one person."""

    @abstractmethod
    def miss_rate(self, scores: ArrayLike, found: ArrayLike, num_objects: int, num_images: int) -> float:
        """MR^-2 in [0, 1], of (N,) pooled detections and at least one person."""


PROTOCOLS: NamedRegistry[CrowdProtocol] = NamedRegistry("CROWD_PROTOCOLS")


@PROTOCOLS.register_as("toolkit", lambda kind: kind())
class ToolkitProtocol(CrowdProtocol):
    """The rules of CrowdHuman's public toolkit."""

    def clip(self, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """The upper left corner ends one pixel before the lower right one: outside, a strip of a pixel can be left."""
        height, width = size
        return np.clip(boxes, 0, [width - 1, height - 1, width, height])

    def counted(self, boxes: np.ndarray) -> np.ndarray:
        """Everybody, also outside the image."""
        return np.ones(len(boxes), dtype=bool)

    def excused(self, boxes: np.ndarray, regions: np.ndarray, iou_threshold: float) -> np.ndarray:
        """Whose box lies on one region by more than the threshold."""
        return np.asarray((overlaps(boxes, regions, of_box=True) > iou_threshold).any(axis=1))

    def passing(self, scores: np.ndarray, threshold: float) -> int:
        """Those above it."""
        return int((scores > threshold).sum())

    def pair_weights(self, iou: np.ndarray, iou_threshold: float) -> np.ndarray:
        """The IoU: the matching of the largest total."""
        return np.where(iou > iou_threshold, iou, 0.0)

    def average_precision(self, scores: ArrayLike, found: ArrayLike, num_objects: int) -> float:
        """Straight lines between raw points."""
        return area_between_points(*raw_points(scores, found), num_objects)

    def miss_rate(self, scores: ArrayLike, found: ArrayLike, num_objects: int, num_images: int) -> float:
        """At the first raw points with at least so many false positives."""
        return miss_rate_from_above(*raw_points(scores, found), num_objects, num_images)


@PROTOCOLS.register_as("strict", lambda kind: kind())
class StrictProtocol(CrowdProtocol):
    """Rules under which equal scores stand or fall together and nobody has to be found outside the image."""

    def clip(self, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """All corners to the image's edges."""
        height, width = size
        return np.clip(boxes, 0, [width, height, width, height])

    def counted(self, boxes: np.ndarray) -> np.ndarray:
        """Who isn't outside the image altogether."""
        return areas(boxes) > 0

    def excused(self, boxes: np.ndarray, regions: np.ndarray, iou_threshold: float) -> np.ndarray:
        """Nobody."""
        return np.zeros(len(boxes), dtype=bool)

    def passing(self, scores: np.ndarray, threshold: float) -> int:
        """Those that reach it."""
        return int((scores >= threshold).sum())

    def pair_weights(self, iou: np.ndarray, iou_threshold: float) -> np.ndarray:
        """The matching of the most pairs; among those, of the largest total of IoU."""
        # More than all IoU together: one pair more outweighs whatever overlap it costs.
        return np.where(iou > iou_threshold, 1 + min(iou.shape) + iou, 0.0)

    def average_precision(self, scores: ArrayLike, found: ArrayLike, num_objects: int) -> float:
        """Under precision that falls with recall, one point a threshold."""
        return area_under_falling_precision(*points_at_thresholds(scores, found), num_objects)

    def miss_rate(self, scores: ArrayLike, found: ArrayLike, num_objects: int, num_images: int) -> float:
        """At the last thresholds with at most so many false positives."""
        return miss_rate_from_below(*points_at_thresholds(scores, found), num_objects, num_images)


def find_protocol(name: str) -> CrowdProtocol:
    """The protocol of a name.

    Raises:
        ValueError: if there is none; lists the known ones.
    """
    if name not in PROTOCOLS:
        raise ValueError(
            f"`protocol` must be one of {sorted(PROTOCOLS)}; got {name!r}: take 'toolkit' to compare with published "
            "figures"
        )
    return PROTOCOLS[name]
