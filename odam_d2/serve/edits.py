"""Edits an image by strokes of a brush: what they cover is erased, or blurred.

Shape letters: (h, w) the image, P points of a stroke.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import cv2
import numpy as np

_SHIFT = 4  # of cv2's coordinates: sixteenths of a pixel
_RING = 3  # pixels around a stroke that tell its surrounding, at least


class Stroke(Protocol):
    """A stroke.

    Attributes:
        points: (P, 2) x, y in the image's pixels.
        radius: of the brush, in pixels.
        how: ``erase`` or ``blur``.
    """

    points: Sequence[tuple[float, float]]
    radius: float
    how: Literal["erase", "blur"]


def edit_image(pixels: np.ndarray, strokes: Sequence[Stroke]) -> np.ndarray:
    """The image after all strokes, one after the other.

    ``erase`` paints with the mean colour of a ring around the stroke, as wide as half of its radius; where the image
    has none, since all is covered, with the mean of the image. ``blur`` takes the image through a Gaussian whose
    standard deviation is half of the radius.

    Args:
        pixels: (h, w, 3) uint8.
        strokes: in the image's pixels; beyond the image they do nothing.

    Returns:
        (h, w, 3) uint8, another array.
    """
    edited = pixels.copy()
    for stroke in strokes:
        mask = stroke_mask(stroke, *pixels.shape[:2])
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        if not len(rows):
            continue
        # All that matters lies this near.
        margin = int(np.ceil(max(_RING, 2 * stroke.radius))) + 1
        part = (
            slice(max(0, rows[0] - margin), rows[-1] + 1 + margin),
            slice(max(0, columns[0] - margin), columns[-1] + 1 + margin),
        )
        covered = mask[part].astype(bool)
        if stroke.how == "erase":
            edited[part][covered] = _surrounding(edited[part], mask[part], stroke.radius, edited)
        else:
            sigma = max(0.5, stroke.radius / 2)
            edited[part][covered] = cv2.GaussianBlur(edited[part], (0, 0), sigma)[covered]
    return edited


def stroke_mask(stroke: Stroke, height: int, width: int) -> np.ndarray:
    """(h, w) uint8: 1 where the brush went, its ends round."""
    mask = np.zeros((height, width), np.uint8)
    # Pixel centres are whole numbers for cv2; far away from the image its integers would overflow.
    reach = 4 * max(height, width) + 4 * stroke.radius
    points = np.clip(np.asarray(stroke.points, np.float64) - 0.5, -reach, reach)
    fixed = np.rint(points * 2**_SHIFT).astype(np.int32)
    radius = max(1, round(stroke.radius * 2**_SHIFT))
    thick = max(1, round(2 * stroke.radius))
    for begin, end in zip(fixed, fixed[1:]):
        cv2.line(mask, begin.tolist(), end.tolist(), 1, min(thick, 32767), shift=_SHIFT)
    for point in fixed:
        cv2.circle(mask, point.tolist(), radius, 1, -1, shift=_SHIFT)
    return mask


def _surrounding(part: np.ndarray, mask: np.ndarray, radius: float, image: np.ndarray) -> np.ndarray:
    """(3,) uint8: the mean colour around a stroke."""
    width = max(_RING, round(radius / 2))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    ring = (cv2.dilate(mask, kernel) > 0) & (mask == 0)
    colours = part[ring] if ring.any() else image.reshape(-1, 3)
    return np.rint(colours.mean(0)).astype(np.uint8)
