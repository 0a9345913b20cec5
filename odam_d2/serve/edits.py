"""Edits an image by strokes of a brush: what they cover is filled with a colour, or blurred.

Shape letters: (h, w) the image, P points of a stroke.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import cv2
import numpy as np

_SHIFT = 4  # of cv2's coordinates: sixteenths of a pixel
_RING, _WIDEST_RING = 3, 32  # pixels around a stroke that tell its surrounding
_SIGMA = 8.0  # pixels; a wider blur is done on a smaller image
MOST_PIXELS = 400_000_000  # that all strokes together may look at or paint, over and over
How = Literal["erase", "mean", "blur"]


class Stroke(Protocol):
    """A stroke.

    Attributes:
        points: (P, 2) x, y in the image's pixels.
        radius: of the brush, in pixels.
        how: what is put there, see :func:`edit_image`.
    """

    @property
    def points(self) -> Sequence[tuple[float, float]]:
        """See the class."""
        ...

    @property
    def radius(self) -> float:
        """See the class."""
        ...

    @property
    def how(self) -> How:
        """See the class."""
        ...


def edit_image(
    pixels: np.ndarray, strokes: Sequence[Stroke], mean: Sequence[int] | None = None, most: int = MOST_PIXELS
) -> np.ndarray:
    """The image after all strokes, one after the other.

    ``erase`` paints with the mean colour of a ring around the stroke, half as wide as its radius, of 3 to 32 pixels;
    where the image has none, since all is covered, with the mean of the image. ``mean`` paints with a given colour,
    that of a detector's mean pixel. ``blur`` takes the image through a Gaussian whose standard deviation is half of the
    radius.

    Args:
        pixels: (h, w, 3) uint8.
        strokes: in the image's pixels; beyond the image they do nothing.
        mean: the colour of ``mean``, in the order of the image's channels; None if no stroke needs it.
        most: pixels that all strokes together may look at or paint, over and over.

    Returns:
        (h, w, 3) uint8, another array.

    Raises:
        ValueError: if they look at more, or need a colour that isn't given.
    """
    height, width = pixels.shape[:2]
    places = ((stroke, _place(stroke, height, width)) for stroke in strokes)
    parts = [(stroke, *place) for stroke, place in places if place is not None]
    if mean is None and any(stroke.how == "mean" for stroke in strokes):
        raise ValueError("`mean` must be a colour where a stroke paints with it; got none: name a detector")
    if sum(_work(stroke, y, x) for stroke, y, x in parts) > most:
        raise ValueError(f"`strokes` must cover at most {most / 1e6:g} million pixels together; got more: draw fewer")
    edited = pixels.copy()
    for stroke, y, x in parts:
        part = edited[y, x]
        mask = _mask(stroke, part.shape[0], part.shape[1], (x.start, y.start))
        covered = mask.astype(bool)
        if not covered.any():
            continue
        if stroke.how == "blur":
            part[covered] = _blurred(part, stroke.radius / 2)[covered]
        else:
            part[covered] = _surrounding(part, mask, stroke.radius, edited) if stroke.how == "erase" else mean
    return edited


def stroke_mask(stroke: Stroke, height: int, width: int) -> np.ndarray:
    """(h, w) uint8: 1 where the brush went, its ends round."""
    return _mask(stroke, height, width, (0, 0))


def _place(stroke: Stroke, height: int, width: int) -> tuple[slice, slice] | None:
    """Rows and columns of an image where a stroke is, and what it looks at around; None where it is outside."""
    points = np.asarray(stroke.points, np.float64)
    (left, top), (right, bottom) = points.min(0) - stroke.radius - 1, points.max(0) + stroke.radius + 1
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        return None
    margin = max(_WIDEST_RING, 2 * stroke.radius)
    rows = slice(max(0, int(top - margin)), min(height, int(bottom + margin) + 1))
    return rows, slice(max(0, int(left - margin)), min(width, int(right + margin) + 1))


def _work(stroke: Stroke, rows: slice, columns: slice) -> float:
    """How many pixels a stroke looks at and paints: all of its part, and about a square of the brush for each point."""
    height, width, brush = rows.stop - rows.start, columns.stop - columns.start, 2 * stroke.radius
    return height * width + (len(stroke.points) - 1) * min(height, brush) * min(width, brush)


def _mask(stroke: Stroke, height: int, width: int, corner: tuple[int, int]) -> np.ndarray:
    """(h, w) uint8: where the brush went in the part of an image whose top left pixel is `corner`, x and y."""
    mask = np.zeros((height, width), np.uint8)
    # Pixel centres are whole numbers for cv2; far away from the image its integers would overflow.
    reach = 4 * max(height, width) + 4 * stroke.radius
    points = np.clip(np.asarray(stroke.points, np.float64) - corner - 0.5, -reach, reach)
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
    away = cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_3)
    ring = (mask == 0) & (away <= min(_WIDEST_RING, max(_RING, radius / 2)))
    colours = part[ring] if ring.any() else image.reshape(-1, 3)
    return np.rint(colours.mean(0)).astype(np.uint8)


def _blurred(part: np.ndarray, sigma: float) -> np.ndarray:
    """A part of an image after a Gaussian; a wide one leaves no detail that a smaller image would lack."""
    height, width = part.shape[:2]
    scale = max(1.0, sigma / _SIGMA)
    if scale == 1.0:
        return cv2.GaussianBlur(part, (0, 0), max(0.5, sigma))
    size = (max(1, round(width / scale)), max(1, round(height / scale)))
    small = cv2.GaussianBlur(cv2.resize(part, size, interpolation=cv2.INTER_AREA), (0, 0), _SIGMA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
