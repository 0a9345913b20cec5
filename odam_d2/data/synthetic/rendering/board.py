"""A supersampled drawing board for one object, and the polygons that bodies are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

_ARC = np.linspace(-np.pi / 2, np.pi / 2, 9)
_CAP = np.stack([np.cos(_ARC), np.sin(_ARC)], axis=1)
_CIRCLE = np.linspace(0, 2 * np.pi, 25)[:-1]
_DISC = np.stack([np.cos(_CIRCLE), np.sin(_CIRCLE)], axis=1)
_SHIFT = 3  # polygon corners keep three binary digits after the point
_LIGHT = (-0.5, 0.6)  # where the light comes from unless told: the upper left, (u, v)
_SHARES = np.array([[1.0], [0.78], [0.45]])  # radii of the nested tubes that make a limb look round
_RELIEF = (1 - _SHARES) * 0.8  # how far they are shifted towards the light, in radii
NEUTRAL = 160  # the value of the shade layer that leaves a colour as it is


def tube(start: Sequence[float], end: Sequence[float], start_radius: float, end_radius: float) -> np.ndarray:
    """Outline of a limb: the hull of two discs.

    Returns:
        (18, 2) float array of corners in the unit of the arguments.
    """
    radii = np.array([[start_radius, end_radius]], float)
    return _tubes(np.asarray(start, float)[None], np.asarray(end, float)[None], radii)[0]


def _tubes(starts, ends, radii):
    """`tube` for K limbs at once: (K, 2), (K, 2) and (K, 2) of start and end radius -> (K, 18, 2)."""
    along = ends - starts
    length = np.sqrt(along[:, 0] ** 2 + along[:, 1] ** 2)[:, None]
    unit = np.where(length > 0, along / np.maximum(length, 1e-300), (1.0, 0.0))
    c, s = unit[:, :1], unit[:, 1:]
    tips = np.stack([_CAP[:, 0] * c - _CAP[:, 1] * s, _CAP[:, 0] * s + _CAP[:, 1] * c], axis=2)
    corners = np.empty((len(starts), 18, 2))
    corners[:, :9] = ends[:, None] + radii[:, 1, None, None] * tips
    corners[:, 9:] = starts[:, None] - radii[:, 0, None, None] * tips
    return corners


def oval(center: Sequence[float], radius_u: float, radius_v: float) -> np.ndarray:
    """Outline of an upright ellipse: (24, 2) corners."""
    return _DISC * [radius_u, radius_v] + center


def rounded(corners: Sequence, rounds: int = 2) -> np.ndarray:
    """Cuts the corners of a closed polygon `rounds` times (Chaikin), which makes a smooth outline of it."""
    points = np.asarray(corners, float)
    for _ in range(rounds):
        following = np.roll(points, -1, axis=0)
        points = np.stack([0.75 * points + 0.25 * following, 0.25 * points + 0.75 * following], axis=1).reshape(-1, 2)
    return points


@dataclass
class Sprite:
    """A drawn object, ready to be painted on an image.

    Attributes:
        color: (h, w, 3) uint8 BGR, already multiplied by alpha.
        alpha: (h, w) uint8 coverage.
        anchor: (x, y) of the ground point in the sprite's own pixels.
        head: (x1, y1, x2, y2) of the head in the sprite's own pixels; None for what has no head box.
    """

    color: np.ndarray
    alpha: np.ndarray
    anchor: tuple[float, float]
    head: tuple[int, int, int, int] | None = None

    def origin(self, x: float, y: float) -> tuple[int, int]:
        """Image pixel of the sprite's upper left corner when its ground point stands at (x, y)."""
        return int(round(x - self.anchor[0])), int(round(y - self.anchor[1]))

    @cached_property
    def covered(self) -> np.ndarray:
        """(h, w) bool: where the sprite covers a pixel by half or more, and so counts as seen there."""
        return self.alpha >= 128

    @cached_property
    def tight_box(self) -> tuple[int, int, int, int] | None:
        """(x1, y1, x2, y2) int pixel edges around what is covered, in the sprite's own pixels."""
        return tight_box(self.covered)


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Smallest (x1, y1, x2, y2) of int pixel edges around a (h, w) bool mask; None when the mask is empty."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return (x, y, x + width, y + height) if width else None


def _fixed_point(corners):
    """Board pixels -> what OpenCV's polygon functions take together with `shift=_SHIFT`."""
    return [np.round(corners * (1 << _SHIFT)).astype(np.int32)]


class Board:
    """Collects filled shapes of one object at two or three times the final resolution.

    Args:
        left, right, top, bottom: extent in metres around the ground point (`bottom` is below the ground point).
        scale: image pixels per metre.
    """

    def __init__(self, left: float, right: float, top: float, bottom: float, scale: float):
        self.scale = scale
        height = (top + bottom) * scale
        self.samples = 3 if height < 110 else 2 if height < 420 else 1
        self.width = int(np.ceil((left + right) * scale)) + 4
        self.height = int(np.ceil(height)) + 4
        self.anchor = (left * scale + 2, top * scale + 2)
        shape = (self.height * self.samples, self.width * self.samples)
        self.color = np.zeros(shape + (3,), np.uint8)
        self.alpha = np.zeros(shape, np.uint8)
        self.shade = np.full(shape, NEUTRAL, np.uint8)
        self._head: list[np.ndarray] = []

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the board's own, supersampled pixels: the size that textures must have."""
        return self.alpha.shape

    def pixels(self, points: Sequence) -> np.ndarray:
        """(N, 2) metres (u right, v up) -> (N, 2) float board pixels."""
        unit = self.scale * self.samples
        origin = np.array([self.anchor[0] * self.samples, self.anchor[1] * self.samples])
        return np.asarray(points, float) * np.array([unit, -unit]) + origin

    def fill(self, points: Sequence, brush: Sequence | np.ndarray, shade: int = NEUTRAL, head: bool = False) -> None:
        """Fills a polygon.

        Args:
            points: (N, 2) corners in metres.
            brush: a BGR colour, or a texture: (rows, columns, 3) uint8 of the board's `shape`.
            shade: value of the shade layer inside the polygon.
            head: the polygon belongs to the head, and widens the head box.
        """
        self._fill_pixels(self.pixels(points), brush, shade, head)

    def _fill_pixels(self, corners, brush, shade, head):
        if head:
            self._head.append(corners)
        fixed = _fixed_point(corners)
        if isinstance(brush, np.ndarray) and brush.ndim == 3:
            self._fill_texture(fixed, brush)
        else:
            cv2.fillPoly(self.color, fixed, [float(c) for c in brush], shift=_SHIFT)
        cv2.fillPoly(self.alpha, fixed, 255, shift=_SHIFT)
        cv2.fillPoly(self.shade, fixed, int(shade), shift=_SHIFT)

    def _fill_texture(self, fixed, brush):
        x1, y1, w, h = cv2.boundingRect(fixed[0] >> _SHIFT)
        x2, y2, x1, y1 = max(x1 + w + 2, 0), max(y1 + h + 2, 0), max(x1 - 1, 0), max(y1 - 1, 0)
        mask = np.zeros(self.alpha[y1:y2, x1:x2].shape, np.uint8)
        if mask.size:
            offset = np.array([x1, y1], np.int32) << _SHIFT
            cv2.fillPoly(mask, [fixed[0] - offset], 255, shift=_SHIFT)
            np.copyto(self.color[y1:y2, x1:x2], brush[y1:y2, x1:x2], where=mask[..., None] > 0)

    def limb(self, start, end, start_radius, end_radius, brush, light=_LIGHT, head=False):
        """Fills a tube that is lit from `light` (u, v): dark at the rim, bright where it faces the light."""
        outlines = self._nested(start, end, start_radius, end_radius, light)
        self._fill_pixels(outlines[0], brush, NEUTRAL - 42, head)
        self._lighten(outlines)

    def relief(self, start, end, start_radius, end_radius, light=_LIGHT):
        """Brightens the shade layer along a tube, which makes a flat shape look round."""
        self._lighten(self._nested(start, end, start_radius, end_radius, light))

    def _nested(self, start, end, start_radius, end_radius, light):
        """Board pixels of a tube and of the brighter and brighter ones inside it: (3, 18, 2)."""
        radii = np.array([start_radius, end_radius], float)
        shift = _RELIEF * np.asarray(light, float)
        starts, ends = np.asarray(start, float) + shift * radii[0], np.asarray(end, float) + shift * radii[1]
        return self.pixels(_tubes(starts, ends, _SHARES * radii))

    def _lighten(self, outlines):
        inner = np.round(outlines[1:] * (1 << _SHIFT)).astype(np.int32)
        for corners, value in zip(inner, (NEUTRAL - 10, NEUTRAL + 16)):
            cv2.fillPoly(self.shade, [corners], value, shift=_SHIFT)

    def mark(self, points, shade):
        """Sets the shade layer inside a polygon (folds, gaps, reflections) and leaves colour and coverage alone."""
        cv2.fillPoly(self.shade, _fixed_point(self.pixels(points)), int(shade), shift=_SHIFT)

    def line(self, start, end, width, color):
        """Draws a straight line of `width` metres on what is there; coverage stays as it is."""
        (x1, y1), (x2, y2) = np.round(self.pixels([start, end])).astype(int)
        thickness = max(1, int(round(width * self.scale * self.samples)))
        cv2.line(self.color, (int(x1), int(y1)), (int(x2), int(y2)), [float(c) for c in color], thickness)

    def finish(self, rng: np.random.Generator, softness: float = 0.02, grain: float = 5.0) -> Sprite:
        """Applies shade and grain and brings the board to image resolution.

        Args:
            rng: source of the grain.
            softness: blur of the shade layer in metres.
            grain: standard deviation of the surface noise in grey levels.
        """
        x1, y1, x2, y2 = self._used()
        n = self.samples
        window = (slice(y1 * n, y2 * n), slice(x1 * n, x2 * n))
        sigma = max(softness * self.scale * n, 0.5)
        shade: np.ndarray = cv2.GaussianBlur(self.shade[window], (0, 0), sigma).astype(np.float32)
        rows, columns = shade.shape
        speckle = rng.standard_normal((rows // 3 + 1, columns // 3 + 1), dtype=np.float32) * np.float32(grain / 128) + 1
        shade *= cv2.resize(speckle, (columns, rows), interpolation=cv2.INTER_LINEAR)
        shade = cv2.cvtColor(shade, cv2.COLOR_GRAY2BGR)
        color = cv2.multiply(self.color[window], shade, scale=1 / NEUTRAL, dtype=cv2.CV_8U)
        size = (x2 - x1, y2 - y1)
        color = cv2.resize(color, size, interpolation=cv2.INTER_AREA)
        alpha = cv2.resize(self.alpha[window], size, interpolation=cv2.INTER_AREA)
        head = None
        if self._head:
            corners = np.concatenate(self._head) / n - [x1, y1]
            whole = tight_box(alpha >= 128)
            assert whole is not None  # a sprite with a head covers something
            left, top, right, bottom = whole
            low, high = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
            head = (max(int(low[0]), left), max(int(low[1]), top), min(int(high[0]), right), min(int(high[1]), bottom))
        return Sprite(color, alpha, (self.anchor[0] - x1, self.anchor[1] - y1), head)

    def _used(self):
        """The part of the board that is drawn on, in image pixels with one pixel of air around it."""
        x1, y1, x2, y2 = cv2.boundingRect(self.alpha)
        x2, y2 = x1 + x2, y1 + y2
        n = self.samples
        low, high = (max(x1 // n - 1, 0), max(y1 // n - 1, 0)), (-(-x2 // n) + 1, -(-y2 // n) + 1)
        return *low, min(high[0], self.width), min(high[1], self.height)
