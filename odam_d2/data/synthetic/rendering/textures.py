"""Fractal noise, cloth patterns and the palettes that objects take their colours from."""

import cv2
import numpy as np

SKIN = np.array(
    [[172, 196, 232], [150, 182, 225], [140, 175, 225], [105, 145, 200], [75, 110, 165], [50, 75, 120], [38, 52, 85]]
)
HAIR = np.array(
    [[20, 20, 24], [30, 40, 60], [45, 70, 110], [90, 140, 185], [120, 190, 220], [130, 130, 135], [35, 60, 130]]
)


def fractal_noise(
    rng: np.random.Generator, height: int, width: int, cell: float, octaves: int = 4, persistence: float = 0.55
) -> np.ndarray:
    """Noise with detail at several sizes.

    Args:
        cell: size in pixels of the largest blobs.
        octaves: how many times the size is halved.
        persistence: amplitude of an octave relative to the one before.

    Returns:
        (height, width) float32, mean about 0, nearly all within [-1, 1].
    """
    total = np.zeros((height, width), np.float32)
    amplitude, norm = 1.0, 0.0
    for _ in range(octaves):
        grid = rng.random((int(height / cell) + 3, int(width / cell) + 3), dtype=np.float32) * 2 - 1
        total += amplitude * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        norm += amplitude**2
        amplitude *= persistence
        cell = max(cell / 2, 1.0)
    return total / np.float32(np.sqrt(norm) * 1.2)


def tinted(color: np.ndarray, light: np.ndarray) -> np.ndarray:
    """A (3,) colour under (H, W) float32 light: (H, W, 3) float32."""
    return cv2.merge([light * np.float32(channel) for channel in color])


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """BGR colour of a hue in degrees and saturation and value in [0, 1]."""
    sector = np.array([5.0, 3.0, 1.0]) + hue / 60.0
    fraction = sector[::-1] % 6
    ramp = np.clip(np.minimum(fraction, 4 - fraction), 0, 1)
    return 255 * value * (1 - saturation * ramp)


def cloth_color(rng: np.random.Generator, dark: bool = False) -> np.ndarray:
    """A colour as clothes have it: greys, blues and earth tones often, loud colours now and then."""
    kind = rng.random()
    if kind < 0.35:
        value = rng.uniform(0.08, 0.4) if dark or rng.random() < 0.5 else rng.uniform(0.5, 0.98)
        return hsv(rng.uniform(0, 360), rng.uniform(0, 0.15), value)
    if kind < 0.6:
        return hsv(rng.normal(215, 12), rng.uniform(0.3, 0.75), rng.uniform(0.2, 0.45 if dark else 0.8))
    if kind < 0.72:
        return hsv(rng.normal(32, 8), rng.uniform(0.25, 0.6), rng.uniform(0.3, 0.55 if dark else 0.85))
    return hsv(rng.uniform(0, 360), rng.uniform(0.5, 0.95), rng.uniform(0.3, 0.5) if dark else rng.uniform(0.5, 0.95))


def cloth(rng: np.random.Generator, shape: tuple[int, int], unit: float, plain_chance: float = 0.45) -> np.ndarray:
    """A cloth pattern for a whole board.

    Args:
        shape: (rows, columns) of the board.
        unit: board pixels per metre.
        plain_chance: how often the cloth has one colour.

    Returns:
        A BGR colour, or a (rows, columns, 3) uint8 texture.
    """
    base = cloth_color(rng)
    if rng.random() < plain_chance:
        return base
    other = cloth_color(rng)
    if np.abs(base - other).sum() < 120:
        other = 255 - base
    rows = np.arange(shape[0], dtype=np.float32)[:, None] / np.float32(unit)
    columns = np.arange(shape[1], dtype=np.float32)[None, :] / np.float32(unit)
    kind = rng.integers(6)
    period = rng.uniform(0.05, 0.16)
    if kind == 0:  # stripes across
        weight = (rows % period < period * rng.uniform(0.3, 0.6)).astype(np.float32)
    elif kind == 1:  # stripes along
        weight = (columns % period < period * rng.uniform(0.2, 0.5)).astype(np.float32)
    elif kind == 2:  # checks
        weight = 0.5 * (rows % period < period / 2) + 0.5 * (columns % period < period / 2)
    elif kind == 3:  # dots
        weight = ((rows % period - period / 2) ** 2 + (columns % period - period / 2) ** 2 < (0.28 * period) ** 2) * 1.0
    elif kind == 4:  # blotches
        weight = np.clip(fractal_noise(rng, *shape, cell=max(0.15 * unit, 2), octaves=3) * 4 + 0.5, 0, 1)
    else:  # two colours, one above the other
        weight = np.clip((rows - shape[0] / unit * rng.uniform(0.25, 0.4)) * 40, 0, 1)
    weight = np.broadcast_to(np.asarray(weight, np.float32), shape)
    channels = [weight * np.float32(o - b) + np.float32(b) for b, o in zip(base, other)]
    return cv2.merge([channel.astype(np.uint8) for channel in channels])
