"""Parts of strips: a detection's heat map of each attribute as panels, and panels side by side.

Images are (h, w, 3) uint8 RGB; boxes are XYXY in their pixels.
"""

from collections.abc import Sequence

import numpy as np
from detectron2.structures import Instances
from PIL import Image, ImageDraw

from ..structures import HeatMaps
from .encoding import eight_bit_maps
from .overlay import (
    ALPHA,
    COLORMAP,
    draw_heatmap,
    fit_size,
    outline_box,
    resize_image,
)
from .text import draw_text, fitting

PANEL_SIZE = (320, 960)  # (h, w) of the largest panel, in pixels
_CELL_WIDTH = 120  # of the narrowest cell around a panel
_TITLE_HEIGHT, _GAP = 24, 6
BACKGROUND, INK = (250, 250, 248), (28, 28, 30)


def attribute_panels(
    image: np.ndarray,
    instances: Instances,
    index: int,
    attributes: Sequence[str] | None = None,
    alpha: float = ALPHA,
    colormap: str = COLORMAP,
    size: tuple[int, int] = PANEL_SIZE,
) -> tuple[list[np.ndarray], list[str]]:
    """A detection's heat map of each attribute, on the part of the image around the box and all heat.

    Args:
        image: (h, w, 3) uint8 RGB, the original image.
        instances: R detections with ``pred_boxes`` and ``heatmaps``.
        index: which of them, 0 .. R - 1.
        attributes: which maps; default all that there are, ``combined`` included.
        alpha: opacity of the highest values, in [0, 1].
        colormap: a name that matplotlib knows.
        size: (h, w) of the largest panel, in pixels.

    Returns:
        K panels of one size, (h', w', 3) uint8 RGB; the K attributes.
    """
    box = instances.pred_boxes.tensor[index].cpu().numpy()
    maps = instances.heatmaps[index].to("cpu")
    x1, y1, x2, y2 = region = surroundings(box, maps, *image.shape[:2])
    detail, zoom = resize_image(image[y1:y2, x1:x2], *panel_size(y2 - y1, x2 - x1, size))
    panels, titles = [], []
    # Drawn from the window alone: bringing each map to the whole image takes longer than all the rest.
    for name, heat in maps.to_images(attributes, size=detail.shape[:2], region=region).items():
        heated = draw_heatmap(detail, heat[0].numpy().clip(0.0, 1.0), alpha, colormap)
        panels.append(outline_box(heated, (box - [x1, y1, x1, y1]) * zoom, (1.0, 1.0, 1.0)))
        titles.append(name)
    return panels, titles


def panel_size(height: int, width: int, largest: tuple[int, int] = PANEL_SIZE) -> tuple[int, int]:
    """(h, w) of an image as a panel: as large as (h, w) `largest` allows."""
    return fit_size(height, width, min(largest[0] / height, largest[1] / width))


def surroundings(box: np.ndarray, maps: HeatMaps, height: int, width: int) -> tuple[int, int, int, int]:
    """The part (x1, y1, x2, y2) of a (height, width) image that holds the box and all heat, with a margin."""
    maps = maps.on_one_grid()
    top, left, rows, columns = eight_bit_maps(maps)[0].window
    stride_y, stride_x = maps.strides[0].tolist()
    scale_y, scale_x = height / maps.image_size[0] * stride_y, width / maps.image_size[1] * stride_x
    low = np.minimum(box[:2], [(left - 0.5) * scale_x, (top - 0.5) * scale_y])
    high = np.maximum(box[2:], [(left + columns + 0.5) * scale_x, (top + rows + 0.5) * scale_y])
    margin = 0.1 * (high - low) + 8
    x1, y1 = np.clip(np.floor(low - margin), 0, [width - 1, height - 1]).astype(int)
    x2, y2 = np.clip(np.ceil(high + margin), [x1 + 1, y1 + 1], [width, height]).astype(int)
    return x1, y1, x2, y2


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
    sheet = Image.new("RGB", (sum(cells) + _GAP * (len(cells) + 1), tallest + _TITLE_HEIGHT + _GAP), BACKGROUND)
    pen, left = ImageDraw.Draw(sheet), _GAP
    for panel, title, cell in zip(panels, titles, cells, strict=True):
        draw_text(pen, (left, _TITLE_HEIGHT / 2), fitting(title, 15, cell), INK, 15)
        sheet.paste(Image.fromarray(panel), (left + (cell - panel.shape[1]) // 2, _TITLE_HEIGHT))
        left += cell + _GAP
    return np.asarray(sheet)
