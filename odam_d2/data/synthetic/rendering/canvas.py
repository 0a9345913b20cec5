"""The image that sprites and their shadows are painted on, far to near."""

import cv2
import numpy as np

from .board import Sprite

_HAZE = np.array([205, 202, 198], np.float32)


class Canvas:
    """An image in the making.

    Args:
        background: (H, W, 3) uint8 BGR.

    Attributes:
        image: (H, W, 3) float32 BGR.
    """

    def __init__(self, background: np.ndarray):
        self.image = background.astype(np.float32)

    def _overlap(self, x, y, width, height):
        """Slices of the canvas and of a patch at (x, y) where the two meet; None when they don't."""
        rows, columns = self.image.shape[:2]
        x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + width, columns), min(y + height, rows)
        if x1 >= x2 or y1 >= y2:
            return None
        return (slice(y1, y2), slice(x1, x2)), (slice(y1 - y, y2 - y), slice(x1 - x, x2 - x))

    def paint(self, sprite: Sprite, x: float, y: float, haze: float = 0.0) -> None:
        """Paints a sprite with its ground point at (x, y).

        Args:
            sprite: the `Sprite`.
            x, y: image position of the ground point, pixels.
            haze: share of the colour of hazy air, in [0, 1]; for distance.
        """
        left, top = sprite.origin(x, y)
        height, width = sprite.alpha.shape
        meet = self._overlap(left, top, width, height)
        if meet is None:
            return
        here, there = meet
        cover = cv2.cvtColor(sprite.alpha[there].astype(np.float32) / 255, cv2.COLOR_GRAY2BGR)
        color = sprite.color[there].astype(np.float32)
        if haze > 0:
            color = color * (1 - haze) + cover * (_HAZE * haze)
        self.image[here] += color - self.image[here] * cover

    def shadow(
        self, sprite: Sprite, x: float, y: float, strength: float, slant: tuple[float, float] | None = None
    ) -> None:
        """Darkens the ground under a sprite: a soft spot, and a thrown shadow when the sun has a `slant`.

        Args:
            sprite: the `Sprite` that stands at (x, y).
            strength: how much light is taken away at most, in [0, 1].
            slant: (sideways, squash) of the thrown shadow relative to the height; None under a grey sky.
        """
        assert sprite.tight_box is not None  # nothing transparent is put on a canvas
        x1, y1, x2, y2 = sprite.tight_box
        height, width = y2 - y1, x2 - x1
        half, flat = 0.5 * width + 2, max(0.055 * min(height, 2 * width), 2.0)
        spot: np.ndarray = np.zeros((int(4 * flat) + 3, int(2.4 * half) + 3), np.float32)
        center = (spot.shape[1] // 2, spot.shape[0] // 2)
        cv2.ellipse(spot, center, (int(half * 0.85), int(flat)), 0, 0, 360, 1.0, -1)
        spot = cv2.GaussianBlur(spot, (0, 0), max(flat * 0.5, 0.8))
        middle = x - sprite.anchor[0] + (x1 + x2) / 2
        self._darken(spot * strength, int(middle) - center[0], int(y) - center[1])
        if slant is not None:
            self._throw(sprite, x, y, strength, slant)

    def _throw(self, sprite, x, y, strength, slant):
        """Lays a sheared and squashed copy of the coverage on the ground."""
        sideways, squash = slant
        height, width = sprite.alpha.shape
        rise, reach = sprite.anchor[1], abs(sideways) * sprite.anchor[1]
        pad = 4
        size = (int(width + reach) + 2 * pad, int(rise * squash) + 2 * pad)
        left = -reach if sideways < 0 else 0.0
        matrix = np.array([[1, -sideways, sideways * rise - left + pad], [0, squash, pad]], np.float32)
        laid = cv2.warpAffine(sprite.alpha, matrix, size).astype(np.float32) / 255
        laid = cv2.GaussianBlur(laid, (0, 0), 1.0 + height / 250)
        corner_x, corner_y = sprite.origin(x, y)
        self._darken(laid * strength, int(corner_x + left - pad), int(corner_y + rise - rise * squash - pad))

    def _darken(self, amount, x, y):
        meet = self._overlap(x, y, amount.shape[1], amount.shape[0])
        if meet is not None:
            here, there = meet
            self.image[here] *= cv2.cvtColor(1 - amount[there], cv2.COLOR_GRAY2BGR)
