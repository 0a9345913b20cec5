"""From the bytes of an upload to an image: its size is looked at before any pixel is decoded."""

import io

import numpy as np
from PIL import Image

from ..data.images import readable_formats, to_bgr
from .limits import ServeLimits
from .refusals import RefusedError

# Icons hold images of their own whose sizes the head of the file doesn't tell.
_NESTED = frozenset(("ICO", "ICNS", "CUR"))


def decode_image(data: bytes, limits: ServeLimits) -> np.ndarray:
    """The pixels of an uploaded image, as :func:`odam_d2.data.images.read_image_bgr` reads a file.

    Args:
        data: the file.
        limits: of pixels.

    Returns:
        (h, w, 3) uint8, BGR.

    Raises:
        RefusedError: with 413 if its head tells of more pixels than are allowed, 422 if it can't be read.
    """
    if not data:
        raise RefusedError(422, "the image must have content; got an empty file: choose another one")
    formats = [name for name in readable_formats() if name not in _NESTED]
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            require_few_pixels(*image.size, limits)
            pixels = to_bgr(image)
    except RefusedError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise too_many_pixels(limits) from error
    except Image.UnidentifiedImageError as error:
        raise RefusedError(422, "the image must be of a known format; got something else: save it as PNG") from error
    # A broken file can make a decoder fail with about anything.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise RefusedError(422, f"the image must be whole; got one that can't be read: {reason}") from error
    # What was decoded, whatever the head told.
    require_few_pixels(pixels.shape[1], pixels.shape[0], limits)
    return pixels


def require_few_pixels(width: int, height: int, limits: ServeLimits) -> None:
    """Raises RefusedError with 413 where an image has more pixels than are allowed, or a longer side."""
    if width * height > limits.pixels:
        raise too_many_pixels(limits, f"{width} x {height}")
    if max(width, height) > limits.side:
        raise RefusedError(
            413, f"the image must have sides of at most {limits.side} pixels; got {width} x {height}: cut it"
        )


def too_many_pixels(limits: ServeLimits, got: str = "more") -> RefusedError:
    """Why an image is refused."""
    return RefusedError(
        413, f"the image must have at most {limits.pixels / 1e6:g} million pixels; got {got}: make it smaller"
    )
