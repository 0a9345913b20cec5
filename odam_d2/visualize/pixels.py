"""Images on their way into a drawing and out of it: RGB inside, the caller's order outside."""

import numpy as np
from detectron2.structures import Instances

from ..data.images import ImageLike, to_bgr


def fitting_rgb(image: ImageLike, instances: Instances, rgb: bool = False) -> np.ndarray:
    """The pixels of an image that instances were found in.

    Args:
        image: (h, w, 3) uint8, BGR unless `rgb` says otherwise; a path; or a Pillow image.
        instances: what was found in it.
        rgb: whether an array is RGB.

    Returns:
        (h, w, 3) uint8 RGB, contiguous.

    Raises:
        ValueError: if the image can't be read, or is of another size than ``instances.image_size``.
    """
    pixels = np.ascontiguousarray(to_bgr(image, rgb)[:, :, ::-1])
    (height, width), (expected_height, expected_width) = pixels.shape[:2], instances.image_size
    if (height, width) != (expected_height, expected_width):
        raise ValueError(
            f"`image` must be the image of the instances, {expected_width} x {expected_height} pixels; got {width} x "
            f"{height}: give the original image, not the resized one"
        )
    return pixels


def in_order(drawn: np.ndarray, rgb: bool) -> np.ndarray:
    """A drawing (h, w, 3) uint8 RGB in the caller's order: RGB, or BGR as ``cv2.imwrite`` takes it."""
    return drawn if rgb else np.ascontiguousarray(drawn[:, :, ::-1])
