"""Heat maps and boxes drawn onto images.

Images are (h, w, 3) uint8 RGB; boxes are XYXY in the pixels of the image that they are drawn onto.
"""

import colorsys
from collections.abc import Sequence
from functools import lru_cache

import matplotlib
import numpy as np
import torch
from detectron2.structures import Instances
from PIL import Image, ImageDraw, ImageFont

from .storage import class_name

COLORMAP = "turbo"
ALPHA = 0.65
# From this share of the map's maximum on, heat is drawn with full opacity; below it fades into the photograph.
OPAQUE_FROM = 0.5

_OVERLAY_SIDE = (480, 1600)  # shortest and longest long side of the image with all boxes, in pixels
_LABEL_GROUND, _LABEL_OPACITY = 16, 0.75  # grey value behind labels


def instance_color(index: int) -> tuple[float, float, float]:
    """A bright colour for the detection number `index`, (r, g, b) in [0, 1]; neighbours in number differ much."""
    return colorsys.hsv_to_rgb((0.33 + index * 0.618034) % 1.0, 0.85, 1.0)


def instance_labels(instances: Instances, class_names: Sequence[str]) -> list[str]:
    """What is written beside each box: number, class and score, ``0 person 0.98``."""
    return [instance_label(instances, index, class_names) for index in range(len(instances))]


def instance_label(instances: Instances, index: int, class_names: Sequence[str]) -> str:
    """What is written beside the box number `index`."""
    label, score = int(instances.pred_classes[index]), float(instances.scores[index])
    return f"{index} {class_name(label, class_names)} {score:.2f}"


def draw_heatmap(
    image: np.ndarray, heatmap: np.ndarray | torch.Tensor, alpha: float = ALPHA, colormap: str = COLORMAP
) -> np.ndarray:
    """Lays a heat map over an image; where it is cold, the image shows unchanged.

    Args:
        image: (h, w, 3) uint8 RGB.
        heatmap: (h, w) in [0, 1].
        alpha: opacity of the hottest places, in [0, 1].
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
    if colormap not in matplotlib.colormaps:
        raise ValueError(f"`colormap` must be one that matplotlib knows; got {colormap!r}: try 'turbo' or 'inferno'")
    steps = np.minimum((heat * 256.0).astype(np.int16), 255).astype(np.uint8)
    opacity = np.rint(255.0 * alpha * np.minimum(1.0, np.arange(256) / (256.0 * OPAQUE_FROM))).astype(np.uint8)
    colors = Image.fromarray(color_table(colormap).take(steps, axis=0))
    mask = Image.fromarray(steps).point(opacity.tolist())
    return np.asarray(Image.composite(colors, Image.fromarray(image), mask))


@lru_cache(maxsize=8)
def color_table(colormap: str) -> np.ndarray:
    """(256, 3) uint8 RGB of a matplotlib colour map."""
    return np.rint(matplotlib.colormaps[colormap](np.arange(256))[:, :3] * 255.0).astype(np.uint8)


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[str] | None = None,
    colors: Sequence[tuple[float, float, float]] | None = None,
) -> np.ndarray:
    """Draws boxes, the largest first, so that none hides a smaller one.

    Done with Pillow: Detectron2's Visualizer lays out each label with matplotlib, which takes longer than explaining.

    Args:
        image: (h, w, 3) uint8 RGB.
        boxes: (R, 4) XYXY in the image's pixels.
        labels: R texts; default none.
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
    font = label_font(max(10, round(min(sheet.size) / 36)))
    for k in np.argsort(-(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), kind="stable").tolist():
        ink = tuple(round(255 * part) for part in (colors[k] if colors is not None else instance_color(k)))
        pen = ImageDraw.Draw(sheet)
        x1, y1, x2, y2 = np.rint(boxes[k]).astype(int).tolist()
        # Pillow draws lines inwards from the corners that it is given.
        pen.rectangle((x1 - width // 2, y1 - width // 2, x2 + width // 2, y2 + width // 2), outline=ink, width=width)
        if labels:
            _draw_tag(ImageDraw.Draw(tags), labels[k], (x1, y1), ink, font, sheet.size)
    return np.asarray(Image.alpha_composite(sheet, tags).convert("RGB"))


@lru_cache(maxsize=8)
def label_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font of labels and titles, `size` pixels high; unpacked once, which takes longer than drawing a label."""
    return ImageFont.load_default(size)


def _draw_tag(
    pen: ImageDraw.ImageDraw,
    text: str,
    corner: tuple[int, int],
    ink: tuple[int, ...],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    size: tuple[int, int],
) -> None:
    """Writes a label at the upper left corner of its box, moved into the image of (w, h) `size` where it must be."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font)
    wide, high = right - left + 4, bottom - top + 4
    x, y = (max(0, min(at, most - long)) for at, most, long in zip(corner, size, (wide, high), strict=True))
    pen.rectangle((x, y, x + wide, y + high), fill=(_LABEL_GROUND,) * 3 + (round(255 * _LABEL_OPACITY),))
    pen.text((x + 2 - left, y + 2 - top), text, ink, font)


def draw_detection(
    image: np.ndarray,
    heatmap: np.ndarray | torch.Tensor,
    box: np.ndarray | torch.Tensor,
    label: str | None = None,
    alpha: float = ALPHA,
    colormap: str = COLORMAP,
    color: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> np.ndarray:
    """One detection explained: the heat map over the image, its box, and a label.

    Args:
        image: (h, w, 3) uint8 RGB.
        heatmap: (h, w) in [0, 1].
        box: (4,) XYXY in the image's pixels.
        label: text beside the box; default none.
        alpha: opacity of the hottest places, in [0, 1].
        colormap: a name that matplotlib knows.
        color: of the box, (r, g, b) in [0, 1].

    Returns:
        (h, w, 3) uint8 RGB, a new array.
    """
    box = np.asarray(box.cpu() if isinstance(box, torch.Tensor) else box)
    heated = draw_heatmap(image, heatmap, alpha, colormap)
    return draw_boxes(heated, box[None], [label] if label else None, [color])


def draw_detections(image: np.ndarray, instances: Instances, class_names: Sequence[str] = ()) -> np.ndarray:
    """The image with all its boxes, numbered as everywhere else; very large and very small ones are resized.

    Args:
        image: (h, w, 3) uint8 RGB, the original image.
        instances: ``pred_boxes`` in its frame, ``scores``, ``pred_classes``.
        class_names: the name of each class, by its number.

    Returns:
        (h', w', 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    smallest, largest = _OVERLAY_SIDE
    side = min(max(height, width, smallest), largest)
    resized, factors = resize_image(image, *fit_size(height, width, side / max(height, width)))
    boxes = instances.pred_boxes.tensor.cpu().numpy() * factors
    return draw_boxes(resized, boxes, instance_labels(instances, class_names))


def fit_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """(h, w) of an image at another scale, in whole pixels, at least one."""
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize_image(image: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The image at another size, and the (4,) factors that bring XYXY boxes along."""
    factors = np.array([width / image.shape[1], height / image.shape[0]] * 2, dtype=np.float32)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)), factors


def outline_box(image: np.ndarray, box: np.ndarray, color: tuple[float, float, float]) -> np.ndarray:
    """A box that stays visible on any ground: a line in its colour between two dark ones."""
    sheet = Image.fromarray(image)
    pen = ImageDraw.Draw(sheet)
    x1, y1, x2, y2 = np.rint(box).astype(int).tolist()
    for grown, ink in ((2, (0, 0, 0)), (-1, (0, 0, 0)), (1, color), (0, color)):
        if min(x2 - x1, y2 - y1) + 2 * grown >= 0:
            corners = (x1 - grown, y1 - grown, x2 + grown, y2 + grown)
            pen.rectangle(corners, outline=tuple(round(255 * c) for c in ink))
    return np.asarray(sheet)
