"""What camera and weather do to a finished image: light, colour, blur, noise and compression."""

import cv2
import numpy as np

from .textures import fractal_noise, tinted


def photograph(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Turns a painted image into a photograph-like one.

    Args:
        rng: numpy Generator.
        image: (H, W, 3) float32 BGR in [0, 255].

    Returns:
        (H, W, 3) uint8 BGR.
    """
    height, width = image.shape[:2]
    gain = rng.uniform(0.72, 1.15)
    warmth = rng.normal(0, 0.05)
    light = 1 + np.float32(rng.uniform(0.02, 0.14)) * fractal_noise(rng, height, width, 320, octaves=2)
    tint = np.array([1 - warmth, 1, 1 + warmth], np.float32)
    image = image * (tinted(tint, light) * np.float32(gain))
    gamma = rng.uniform(0.8, 1.25)
    levels = np.round(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    image = cv2.LUT(np.clip(image, 0, 255, out=image).astype(np.uint8), levels)
    if rng.random() < 0.6:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.9))
    deviation = rng.uniform(1, 7)
    grain = np.float32(deviation) * rng.standard_normal((height, width), dtype=np.float32)
    speckle = rng.standard_normal((height // 2, width // 2, 3), dtype=np.float32) * np.float32(deviation * 0.5)
    image = image + cv2.cvtColor(grain, cv2.COLOR_GRAY2BGR)
    image += cv2.resize(speckle, (width, height))
    image = np.clip(image, 0, 255, out=image).astype(np.uint8)
    if rng.random() < 0.3:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(45, 85))])
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert decoded is not None  # it was encoded a line above
        return decoded
    return image
