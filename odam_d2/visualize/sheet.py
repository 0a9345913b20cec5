"""An image's explanation on one still sheet: all boxes, and below them the heat maps of the best detections."""

from collections.abc import Sequence

import numpy as np
from detectron2.structures import Instances
from PIL import Image, ImageDraw

from .drawing import boxes_on
from .overlay import fit_size, instance_color, instance_label
from .strips import BACKGROUND, INK, attribute_panels, label_panels
from .text import draw_text, fitting

_WIDTH = 960
_OVERVIEW_HEIGHT = 720  # at most
_PANEL_HEIGHT = 220  # at most
_GAP, _LINE = 6, 26  # between things, and of a line of text
_BEST = 3  # detections whose heat maps are drawn


def draw_sheet(
    pixels: np.ndarray, instances: Instances, class_names: Sequence[str], attributes: Sequence[str]
) -> np.ndarray:
    """Draws the image with all boxes, and the heat maps of the three detections with the highest scores.

    Args:
        pixels: (h, w, 3) uint8 RGB, the original image.
        instances: R detections with ``pred_boxes``, ``pred_classes``, ``heatmaps`` and, if they have one, ``scores``.
        class_names: the name of each class, by its number.
        attributes: the maps to draw of each detection.

    Returns:
        (h', w', 3) uint8 RGB, 960 pixels wide; wider only where the attributes are too many for that.
    """
    best = _best(instances)
    height, width = pixels.shape[:2]
    overview = boxes_on(
        pixels,
        instances,
        class_names,
        *fit_size(height, width, min((_WIDTH - 2 * _GAP) / width, _OVERVIEW_HEIGHT / height)),
    )
    parts = [_group(pixels, instances, k, class_names, attributes) for k in best]
    # Parts stand side by side as long as there is room.
    places, left, top, below = [], _GAP, overview.shape[0] + _GAP + _LINE, 0
    for part in parts:
        if left > _GAP and left + part.shape[1] > _WIDTH:
            left, top, below = _GAP, top + below + _GAP, 0
        places.append((left, top))
        left, below = left + part.shape[1] + _GAP, max(below, part.shape[0])
    total = max([_WIDTH, *(place[0] + part.shape[1] for place, part in zip(places, parts, strict=True))])
    sheet = Image.new("RGB", (total, top + below + _GAP), BACKGROUND)
    sheet.paste(Image.fromarray(overview), ((total - overview.shape[1]) // 2, _GAP))
    for place, part in zip(places, parts, strict=True):
        sheet.paste(Image.fromarray(part), place)
    text = _caption(len(instances), len(best))
    draw_text(ImageDraw.Draw(sheet), (2 * _GAP, overview.shape[0] + _GAP + _LINE / 2), text, INK, 15)
    return np.asarray(sheet)


def _best(instances: Instances) -> list[int]:
    """Numbers of the detections with the highest scores; of the first ones where there are no scores."""
    if not instances.has("scores"):
        return list(range(min(_BEST, len(instances))))
    return instances.scores.argsort(descending=True, stable=True)[:_BEST].tolist()


def _caption(number: int, drawn: int) -> str:
    if number == 0:
        return "No detections"
    if drawn == number:
        return f"{number} detection{'' if number == 1 else 's'}"
    return f"{number} detections; heat maps of the {drawn} with the highest scores"


def _group(
    pixels: np.ndarray, instances: Instances, index: int, class_names: Sequence[str], attributes: Sequence[str]
) -> np.ndarray:
    """A detection's label in its colour, and its heat maps below."""
    columns = max(_BEST, len(attributes))  # so that single maps of the best detections stand side by side
    widest = _WIDTH // columns - 4 * _GAP if len(attributes) == 1 else (_WIDTH - _GAP * (columns + 3)) // columns
    panels, titles = attribute_panels(
        pixels, instances, index, attributes, size=(_PANEL_HEIGHT, max(widest, _PANEL_HEIGHT // 4))
    )
    row = Image.fromarray(label_panels(panels, titles))
    group = Image.new("RGB", (row.width, row.height + _LINE), BACKGROUND)
    group.paste(row, (0, _LINE))
    pen = ImageDraw.Draw(group)
    ink = tuple(round(255 * part) for part in instance_color(index))
    pen.rectangle((_GAP, 6, _GAP + 14, _LINE - 6), fill=ink, outline=INK)
    label = instance_label(instances, index, class_names)
    draw_text(pen, (_GAP + 22, _LINE / 2), fitting(label, 16, group.width - _GAP - 22), INK, 16)
    return np.asarray(group)
