"""Heat maps and boxes drawn onto pictures.

Pictures are (h, w, 3) uint8 RGB; boxes are XYXY in the pixels of the picture that they are drawn onto.
"""

import colorsys
from collections.abc import Sequence

import matplotlib
import numpy as np
import torch
from detectron2.structures import Instances
from detectron2.utils.visualizer import Visualizer
from PIL import Image, ImageDraw, ImageFont

from ..structures import HeatMaps
from .encoding import eight_bit_maps
from .storage import class_name

COLORMAP = "turbo"
ALPHA = 0.65
# From this share of the map's maximum on, heat is drawn with full opacity; below it fades into the photograph.
OPAQUE_FROM = 0.5

_OVERLAY_SIDE = (480, 1600)  # shortest and longest long side of the picture with all boxes, in pixels
_DETAIL_SIDE = 1280  # longest side at which heat maps are drawn before a part is cut out
_PANEL_HEIGHT, _PANEL_WIDTH, _CELL_WIDTH = 320, 960, 120  # highest and widest panel, narrowest cell around it
_TITLE_HEIGHT, _GAP = 24, 6
_BACKGROUND, _INK = (250, 250, 248), (28, 28, 30)


def instance_color(index: int) -> tuple[float, float, float]:
    """A bright colour for the detection number `index`, (r, g, b) in [0, 1]; neighbours in number differ much."""
    return colorsys.hsv_to_rgb((0.33 + index * 0.618034) % 1.0, 0.85, 1.0)


def instance_labels(instances: Instances, class_names: Sequence[str]) -> list[str]:
    """What is written beside each box: number, class and score, ``0 person 0.98``."""
    pairs = zip(instances.pred_classes.tolist(), instances.scores.tolist(), strict=True)
    return [f"{k} {class_name(c, class_names)} {s:.2f}" for k, (c, s) in enumerate(pairs)]


def draw_heatmap(
    image: np.ndarray, heatmap: np.ndarray | torch.Tensor, alpha: float = ALPHA, colormap: str = COLORMAP
) -> np.ndarray:
    """Lays a heat map over a picture; where it is cold, the picture shows unchanged.

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
            f"`heatmap` must be (h, w) = {image.shape[:2]} as the picture is; got {heat.shape}: "
            "ask HeatMaps.to_image for this size"
        )
    # Written so that NaN fails too.
    if heat.size and not (heat.min() >= 0.0 and heat.max() <= 1.0):
        raise ValueError(f"`heatmap` must lie in [0, 1]; got {heat.min()} to {heat.max()}: min-max normalise it first")
    if colormap not in matplotlib.colormaps:
        raise ValueError(f"`colormap` must be one that matplotlib knows; got {colormap!r}: try 'turbo' or 'inferno'")
    colors = matplotlib.colormaps[colormap](heat)[..., :3] * 255.0
    weight = alpha * np.minimum(1.0, heat / OPAQUE_FROM)[..., None]
    return np.round(image * (1.0 - weight) + colors * weight).astype(np.uint8)


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[str] | None = None,
    colors: Sequence[tuple[float, float, float]] | None = None,
) -> np.ndarray:
    """Draws boxes with Detectron2's Visualizer.

    Args:
        image: (h, w, 3) uint8 RGB.
        boxes: (R, 4) XYXY in the picture's pixels.
        labels: R texts; default none.
        colors: R times (r, g, b) in [0, 1]; default by number.

    Returns:
        (h, w, 3) uint8 RGB, a new array.
    """
    if len(boxes) == 0:
        return image.copy()
    colors = list(colors) if colors is not None else [instance_color(k) for k in range(len(boxes))]
    drawn = Visualizer(image).overlay_instances(
        boxes=np.asarray(boxes), labels=labels, assigned_colors=colors, alpha=1.0
    )
    return drawn.get_image()


def draw_detection(
    image: np.ndarray,
    heatmap: np.ndarray | torch.Tensor,
    box: np.ndarray | torch.Tensor,
    label: str | None = None,
    alpha: float = ALPHA,
    colormap: str = COLORMAP,
    color: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> np.ndarray:
    """One detection explained: the heat map over the picture, its box, and a label.

    Args:
        image: (h, w, 3) uint8 RGB.
        heatmap: (h, w) in [0, 1].
        box: (4,) XYXY in the picture's pixels.
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
    """The picture with all its boxes, numbered as everywhere else; very large and very small ones are resized.

    Args:
        image: (h, w, 3) uint8 RGB, the original picture.
        instances: ``pred_boxes`` in its frame, ``scores``, ``pred_classes``.
        class_names: the name of each class, by its number.

    Returns:
        (h', w', 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    smallest, largest = _OVERLAY_SIDE
    side = min(max(height, width, smallest), largest)
    picture, factors = resize_picture(image, *fit_size(height, width, side / max(height, width)))
    boxes = instances.pred_boxes.tensor.cpu().numpy() * factors
    return draw_boxes(picture, boxes, instance_labels(instances, class_names))


def draw_attribute_panel(
    image: np.ndarray,
    instances: Instances,
    index: int,
    attributes: Sequence[str] | None = None,
    class_names: Sequence[str] = (),
    alpha: float = ALPHA,
    colormap: str = COLORMAP,
) -> np.ndarray:
    """One detection as a strip: the picture with its box, then its heat map for each attribute, with titles.

    The heat maps are shown on the part of the picture around the box and all heat.

    Args:
        image: (h, w, 3) uint8 RGB, the original picture.
        instances: R detections with ``pred_boxes``, ``scores``, ``pred_classes`` and ``heatmaps``.
        index: which of them, 0 .. R - 1.
        attributes: which maps; default all that there are, ``combined`` included.
        class_names: the name of each class, by its number.
        alpha: opacity of the hottest places, in [0, 1].
        colormap: a name that matplotlib knows.

    Returns:
        (h', w', 3) uint8 RGB; a panel is at most 320 pixels high and 960 wide.
    """
    height, width = image.shape[:2]
    picture, factors = resize_picture(image, *fit_size(height, width, min(1.0, _DETAIL_SIDE / max(height, width))))
    box = instances.pred_boxes.tensor[index].cpu().numpy() * factors
    maps = instances.heatmaps[index]
    x1, y1, x2, y2 = _surroundings(box, maps, *picture.shape[:2])
    detail, zoom = resize_picture(picture[y1:y2, x1:x2], *_panel_size(y2 - y1, x2 - x1))
    whole, shrink = resize_picture(picture, *_panel_size(*picture.shape[:2]))

    panels = [outline_box(whole, box * shrink, instance_color(index))]
    titles = [instance_labels(instances, class_names)[index]]
    for name in attributes if attributes is not None else maps.names:
        heat = maps.to_image(name, size=picture.shape[:2])[0, y1:y2, x1:x2].cpu().numpy()
        heat = np.asarray(Image.fromarray(heat).resize(detail.shape[1::-1], Image.Resampling.BILINEAR))
        heated = draw_heatmap(detail, heat.clip(0.0, 1.0), alpha, colormap)
        panels.append(outline_box(heated, (box - [x1, y1, x1, y1]) * zoom, (1.0, 1.0, 1.0)))
        titles.append(name)
    return label_panels(panels, titles)


def fit_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """(h, w) of a picture at another scale, in whole pixels, at least one."""
    return max(1, round(height * scale)), max(1, round(width * scale))


def _panel_size(height: int, width: int) -> tuple[int, int]:
    return fit_size(height, width, min(_PANEL_HEIGHT / height, _PANEL_WIDTH / width))


def resize_picture(image: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture at another size, and the (4,) factors that bring XYXY boxes along."""
    factors = np.array([width / image.shape[1], height / image.shape[0]] * 2, dtype=np.float32)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)), factors


def _surroundings(box: np.ndarray, maps: HeatMaps, height: int, width: int) -> tuple[int, int, int, int]:
    """The part (x1, y1, x2, y2) of an (height, width) picture with the box, all heat, and some air around."""
    maps = maps.on_one_grid()
    top, left, rows, columns = eight_bit_maps(maps).window
    stride_y, stride_x = maps.strides[0].tolist()
    scale_y, scale_x = height / maps.image_size[0] * stride_y, width / maps.image_size[1] * stride_x
    low = np.minimum(box[:2], [(left - 0.5) * scale_x, (top - 0.5) * scale_y])
    high = np.maximum(box[2:], [(left + columns + 0.5) * scale_x, (top + rows + 0.5) * scale_y])
    air = 0.1 * (high - low) + 8
    x1, y1 = np.clip(np.floor(low - air), 0, [width - 1, height - 1]).astype(int)
    x2, y2 = np.clip(np.ceil(high + air), [x1 + 1, y1 + 1], [width, height]).astype(int)
    return x1, y1, x2, y2


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


def label_panels(panels: Sequence[np.ndarray], titles: Sequence[str]) -> np.ndarray:
    """Panels side by side, each under its title.

    Args:
        panels: (h, w, 3) uint8 RGB each, of any sizes.
        titles: as many; one that is wider than its panel is cut short.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    cells = [max(panel.shape[1], _CELL_WIDTH) for panel in panels]
    tallest = max(panel.shape[0] for panel in panels)
    sheet = Image.new("RGB", (sum(cells) + _GAP * (len(cells) + 1), tallest + _TITLE_HEIGHT + _GAP), _BACKGROUND)
    pen, font, left = ImageDraw.Draw(sheet), ImageFont.load_default(size=15), _GAP
    for panel, title, cell in zip(panels, titles, cells, strict=True):
        while pen.textlength(title, font) > cell and len(title) > 1:
            title = title[:-2].rstrip(" …") + "…"
        pen.text((left, _TITLE_HEIGHT / 2), title, _INK, font, anchor="lm")
        sheet.paste(Image.fromarray(panel), (left + (cell - panel.shape[1]) // 2, _TITLE_HEIGHT))
        left += cell + _GAP
    return np.asarray(sheet)
