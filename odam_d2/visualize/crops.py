"""Crops of an image around an object, with its box and a heat map, as the pages show them side by side.

Images are (h, w, 3) uint8 RGB; boxes are XYXY in their pixels.
"""

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..utils.files import atomic_write
from .overlay import draw_heatmap, fit_size, outline_box, resize_image
from .pages import jpeg_uri

QUALITY = 82  # of JPEG
_CELL = (190, 220)  # highest and widest crop, in pixels


def region_around(box: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
    """The region (x1, y1, x2, y2) of an image around a box, with the aspect ratio of a cell, whatever the detector.

    It is shifted, and shrunk if necessary, to lie inside the image.
    """
    size = 1.5 * (box[2:] - box[:2]) + 16
    cell = np.array([_CELL[1], _CELL[0]])
    size = np.minimum(cell * (size / cell).max(), [width, height])
    low = np.clip((box[:2] + box[2:] - size) / 2, 0, [width, height] - size)
    x1, y1 = np.floor(low).astype(int).tolist()
    x2, y2 = np.maximum(np.ceil(low + size), [x1 + 1, y1 + 1]).astype(int).tolist()
    return x1, y1, min(x2, width), min(y2, height)


def crop(
    image: np.ndarray,
    region: tuple[int, int, int, int],
    box: Sequence[float],
    heat: np.ndarray | None = None,
    color: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> np.ndarray:
    """The region with a box and, if given, the image's (h, w) heat map; uint8 RGB, the size of a cell."""
    x1, y1, x2, y2 = region
    part = image[y1:y2, x1:x2]
    if heat is not None:
        part = draw_heatmap(part, heat[y1:y2, x1:x2])
    cut, factors = resize_image(part, *fit_size(y2 - y1, x2 - x1, min(_CELL[0] / (y2 - y1), _CELL[1] / (x2 - x1))))
    return outline_box(cut, (np.asarray(box) - [x1, y1, x1, y1]) * factors, color)


def crop_uri(
    image: np.ndarray,
    region: tuple[int, int, int, int],
    box: Sequence[float],
    heat: np.ndarray | None = None,
    color: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> str:
    """:func:`crop` as a JPEG data URI."""
    return jpeg_uri(crop(image, region, box, heat, color), max(_CELL), QUALITY)


def write_rows(path: str | os.PathLike, rows: Sequence[np.ndarray]) -> None:
    """Writes rows of panels, (h, w, 3) uint8 RGB each, one below the other as a JPEG, whole or not at all."""
    width = max(row.shape[1] for row in rows)
    sheet = np.concatenate([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), mode="edge") for row in rows])
    with atomic_write(path, "wb") as handle:
        Image.fromarray(sheet).save(handle, format="JPEG", quality=QUALITY)
