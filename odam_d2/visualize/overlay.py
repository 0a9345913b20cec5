"""Heat maps and boxes drawn onto arrays of pixels.

Images are (h, w, 3) uint8 RGB; boxes are XYXY in the pixels of the image that they are drawn onto.
"""

import colorsys
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from detectron2.structures import Instances
from PIL import Image, ImageDraw

from .storage import class_name, known_names
from .text import draw_text, drawn_name, fitting, text_box

COLORMAP = "turbo"
ALPHA = 0.65
# Heat from this share of the map's maximum on is drawn with full opacity; below, it fades into the image.
OPAQUE_FROM = 0.5

_LABEL_GROUND, _LABEL_OPACITY = 16, 0.75  # grey value behind labels


def instance_color(index: int) -> tuple[float, float, float]:
    """A bright colour for the detection number `index`, (r, g, b) in [0, 1]; consecutive ones differ clearly."""
    return colorsys.hsv_to_rgb((0.33 + index * 0.618034) % 1.0, 0.85, 1.0)


def instance_labels(instances: Instances, class_names: Sequence[str] = ()) -> list[str]:
    """The label of each box: number, class and, where there is one, score: ``0 person 0.98``."""
    return [instance_label(instances, index, class_names) for index in range(len(instances))]


def instance_label(instances: Instances, index: int, class_names: Sequence[str] = ()) -> str:
    """The label of the box number `index`; class names are by default those that the heat maps carry."""
    number = int(instances.pred_classes[index])
    name = drawn_name(number, class_name(number, known_names(instances, class_names)))
    return f"{index} {name} {float(instances.scores[index]):.2f}" if instances.has("scores") else f"{index} {name}"


def draw_heatmap(
    image: np.ndarray, heatmap: np.ndarray | torch.Tensor, alpha: float = ALPHA, colormap: str = COLORMAP
) -> np.ndarray:
    """Lays a heat map over an image, which stays unchanged where the map is zero.

    Args:
        image: (h, w, 3) uint8 RGB.
        heatmap: (h, w) in [0, 1].
        alpha: opacity of the highest values, in [0, 1].
        colormap: a name that matplotlib knows.

    Returns:
        (h, w, 3) uint8 RGB, a new array.

    Raises:
        ValueError: if shapes or values don't fit, or matplotlib doesn't know the colour map.
    """
    heat = np.asarray(heatmap.cpu() if isinstance(heatmap, torch.Tensor) else heatmap, dtype=np.float32)
    if heat.shape != image.shape[:2]:
        raise ValueError(
            f"`heatmap` must be (h, w) = {image.shape[:2]} as the image is; got {heat.shape}: "
            "ask HeatMaps.to_image for this size"
        )
    # Written so that NaN fails too.
    if heat.size and not (heat.min() >= 0.0 and heat.max() <= 1.0):
        raise ValueError(f"`heatmap` must lie in [0, 1]; got {heat.min()} to {heat.max()}: min-max normalise it first")
    steps = np.minimum((heat * 256.0).astype(np.int16), 255).astype(np.uint8)
    opacity = np.rint(255.0 * alpha * np.minimum(1.0, np.arange(256) / (256.0 * OPAQUE_FROM))).astype(np.uint8)
    colors = Image.fromarray(color_table(colormap).take(steps, axis=0))
    mask = Image.fromarray(steps).point(opacity.tolist())
    return np.asarray(Image.composite(colors, Image.fromarray(image), mask))


@lru_cache(maxsize=8)
def color_table(colormap: str) -> np.ndarray:
    """(256, 3) uint8 RGB of a matplotlib colour map.

    Raises:
        ValueError: if matplotlib doesn't know it.
    """
    # Here, since it takes a noticeable time to import and not everybody draws.
    import matplotlib

    if colormap not in matplotlib.colormaps:
        raise ValueError(f"`colormap` must be one that matplotlib knows; got {colormap!r}: try 'turbo' or 'inferno'")
    return np.rint(matplotlib.colormaps[colormap](np.arange(256))[:, :3] * 255.0).astype(np.uint8)


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[str] | None = None,
    colors: Sequence[tuple[float, float, float]] | None = None,
) -> np.ndarray:
    """Draws boxes, the largest first, so that none hides a smaller one.

    Uses Pillow: Detectron2's Visualizer lays out each label with matplotlib, which takes longer than explaining.

    Args:
        image: (h, w, 3) uint8 RGB.
        boxes: (R, 4) XYXY in the image's pixels.
        labels: R texts, see :mod:`odam_d2.visualize.text`; default none.
        colors: R times (r, g, b) in [0, 1]; default by number.

    Returns:
        (h, w, 3) uint8 RGB, a new array.
    """
    if len(boxes) == 0:
        return image.copy()
    boxes = np.asarray(boxes)
    sheet = Image.fromarray(image).convert("RGBA")
    tags = Image.new("RGBA", sheet.size)
    width = max(1, round(min(sheet.size) / 240))
    font_size = max(10, round(min(sheet.size) / 36))
    for k in np.argsort(-(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), kind="stable").tolist():
        ink = tuple(round(255 * part) for part in (colors[k] if colors is not None else instance_color(k)))
        pen = ImageDraw.Draw(sheet)
        x1, y1, x2, y2 = np.rint(boxes[k]).astype(int).tolist()
        # Pillow draws lines inwards from the corners that it is given.
        pen.rectangle((x1 - width // 2, y1 - width // 2, x2 + width // 2, y2 + width // 2), outline=ink, width=width)
        if labels:
            _draw_tag(ImageDraw.Draw(tags), labels[k], (x1, y1), ink, font_size, sheet.size)
    return np.asarray(Image.alpha_composite(sheet, tags).convert("RGB"))


def _draw_tag(
    pen: ImageDraw.ImageDraw,
    text: str,
    corner: tuple[int, int],
    ink: tuple[int, ...],
    font_size: int,
    size: tuple[int, int],
) -> None:
    """Writes a label at the upper left corner of its box, shifted and cut to lie inside the image of (w, h) `size`."""
    text = fitting(text, font_size, size[0] - 4)
    left, top, right, bottom = text_box(text, font_size)
    wide, high = right - left + 4, bottom - top + 4
    x, y = (max(0, min(at, most - long)) for at, most, long in zip(corner, size, (wide, high), strict=True))
    pen.rectangle((x, y, x + wide, y + high), fill=(_LABEL_GROUND,) * 3 + (round(255 * _LABEL_OPACITY),))
    draw_text(pen, (x + 2 - left, y + 2 - top), text, ink, font_size, middle=False)


def fit_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """(h, w) of an image at another scale, in whole pixels, at least one."""
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize_image(image: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The image at another size, and the (4,) factors that scale XYXY boxes with it."""
    factors = np.array([width / image.shape[1], height / image.shape[0]] * 2, dtype=np.float32)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)), factors


def outline_box(image: np.ndarray, box: np.ndarray, color: tuple[float, float, float]) -> np.ndarray:
    """Draws a box that stays visible on any background: a line in its colour between two dark ones."""
    sheet = Image.fromarray(image)
    pen = ImageDraw.Draw(sheet)
    x1, y1, x2, y2 = np.rint(box).astype(int).tolist()
    for grown, ink in ((2, (0, 0, 0)), (-1, (0, 0, 0)), (1, color), (0, color)):
        if min(x2 - x1, y2 - y1) + 2 * grown >= 0:
            corners = (x1 - grown, y1 - grown, x2 + grown, y2 + grown)
            pen.rectangle(corners, outline=tuple(round(255 * c) for c in ink))
    return np.asarray(sheet)
