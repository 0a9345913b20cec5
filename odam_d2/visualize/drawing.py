"""Detections and their heat maps drawn onto the image that they were found in.

All functions here take the image as the predictor takes it: (h, w, 3) uint8, **BGR** as ``cv2.imread`` gives it, or
RGB with ``rgb=True``; a path; or a Pillow image. They return an array in the same order: BGR, ready for
``cv2.imwrite``, or RGB with ``rgb=True``, ready for Pillow and matplotlib.
"""

from collections.abc import Sequence

import numpy as np
from detectron2.structures import Instances

from ..data.images import ImageLike
from .overlay import (
    ALPHA,
    COLORMAP,
    draw_boxes,
    draw_heatmap,
    fit_size,
    instance_color,
    instance_label,
    instance_labels,
    outline_box,
    resize_image,
)
from .pixels import fitting_rgb, in_order
from .strips import attribute_panels, label_panels, panel_size

_OVERVIEW_SIDE = (480, 1600)  # the longer side of an image with all boxes, at least and at most, in pixels


def draw_detection(
    image: ImageLike,
    instances: Instances,
    index: int,
    attribute: str = "score",
    class_names: Sequence[str] = (),
    alpha: float = ALPHA,
    colormap: str = COLORMAP,
    *,
    rgb: bool = False,
) -> np.ndarray:
    """Draws one detection: one of its heat maps over the image, its box, and a label.

    Args:
        image: the original image; see the module for what it may be.
        instances: R detections with ``pred_boxes``, ``pred_classes``, ``heatmaps`` and, if they have one, ``scores``.
        index: which of them, 0 .. R - 1.
        attribute: which of its maps, one of ``instances.heatmaps.names``.
        class_names: the name of each class, by its number; default those that the heat maps carry.
        alpha: opacity of the highest values, in [0, 1].
        colormap: a name that matplotlib knows.
        rgb: whether an array is RGB, and the result is.

    Returns:
        (h, w, 3) uint8, the size of the image, BGR unless `rgb`.

    Raises:
        ValueError: if the image can't be read or is another one, or there is no such map.
    """
    pixels = fitting_rgb(image, instances, rgb)
    heat = instances.heatmaps[index].to_image(attribute)[0].cpu().clamp(0.0, 1.0)
    heated = draw_heatmap(pixels, heat, alpha, colormap)
    box = instances.pred_boxes.tensor[index].cpu().numpy()
    label = instance_label(instances, index, class_names)
    return in_order(draw_boxes(heated, box[None], [label], [(1.0, 1.0, 1.0)]), rgb)


def draw_detections(
    image: ImageLike, instances: Instances, class_names: Sequence[str] = (), *, rgb: bool = False
) -> np.ndarray:
    """Draws the boxes of all detections, numbered, with class and score; no heat maps.

    Args:
        image: the original image; see the module for what it may be.
        instances: R detections with ``pred_boxes``, ``pred_classes`` and, if they have one, ``scores``.
        class_names: the name of each class, by its number; default those that the heat maps carry.
        rgb: whether an array is RGB, and the result is.

    Returns:
        (h', w', 3) uint8, BGR unless `rgb`. Very small and very large images are resized, to 480 to 1600 pixels on
        their longer side.

    Raises:
        ValueError: if the image can't be read or is another one.
    """
    pixels = fitting_rgb(image, instances, rgb)
    side = max(pixels.shape[:2])
    smallest, largest = _OVERVIEW_SIDE
    size = fit_size(pixels.shape[0], pixels.shape[1], min(max(side, smallest), largest) / side)
    return in_order(boxes_on(pixels, instances, class_names, *size), rgb)


def boxes_on(
    pixels: np.ndarray, instances: Instances, class_names: Sequence[str], height: int, width: int
) -> np.ndarray:
    """(height, width, 3) uint8 RGB: the RGB image at this size with all boxes and labels."""
    resized, factors = resize_image(pixels, height, width)
    return draw_boxes(
        resized, instances.pred_boxes.tensor.cpu().numpy() * factors, instance_labels(instances, class_names)
    )


def draw_attribute_panel(
    image: ImageLike,
    instances: Instances,
    index: int,
    attributes: Sequence[str] | None = None,
    class_names: Sequence[str] = (),
    alpha: float = ALPHA,
    colormap: str = COLORMAP,
    *,
    rgb: bool = False,
) -> np.ndarray:
    """Draws one detection as a strip: the image with its box, then its heat map of each attribute, with titles.

    The heat maps are shown on the part of the image around the box and all heat.

    Args:
        image: the original image; see the module for what it may be.
        instances: R detections with ``pred_boxes``, ``pred_classes``, ``heatmaps`` and, if they have one, ``scores``.
        index: which of them, 0 .. R - 1.
        attributes: which maps; default all that there are, ``combined`` included.
        class_names: the name of each class, by its number; default those that the heat maps carry.
        alpha: opacity of the highest values, in [0, 1].
        colormap: a name that matplotlib knows.
        rgb: whether an array is RGB, and the result is.

    Returns:
        (h', w', 3) uint8, BGR unless `rgb`; a panel is at most 320 pixels high and 960 wide.

    Raises:
        ValueError: if the image can't be read or is another one, or there is no such map.
    """
    pixels = fitting_rgb(image, instances, rgb)
    whole, shrink = resize_image(pixels, *panel_size(*pixels.shape[:2]))
    box = instances.pred_boxes.tensor[index].cpu().numpy()
    panels, titles = attribute_panels(pixels, instances, index, attributes, alpha, colormap)
    whole = outline_box(whole, box * shrink, instance_color(index))
    titles = [instance_label(instances, index, class_names), *titles]
    return in_order(label_panels([whole, *panels], titles), rgb)
