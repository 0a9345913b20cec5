"""Sizes of images whose annotations don't have them, cached in a file."""

import json
import logging
import os
from collections.abc import Mapping

from tqdm import tqdm

from ..utils.files import write_text
from .images import read_image_size


def image_sizes(
    images: Mapping[str, str], kept_in: str | os.PathLike
) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
    """Sizes of images, from the cache or else from the images' headers.

    An image whose file has changed its length since its size was cached is read again.

    Args:
        images: path of each image, by its id.
        kept_in: JSON file that is read where it is there, and written where sizes were missing; in a folder that can't
            be written to, sizes are read at each call.

    Returns:
        (height, width) of each image in pixels, EXIF orientation applied; and for those that can't be read the
        reason.
    """
    known = _read(kept_in)
    found, failures, fresh = {}, {}, False
    for ident, path in tqdm(images.items(), desc="sizes of images", unit="image", delay=5):
        try:
            length = os.stat(path).st_size
            if known.get(ident, [0, 0, -1])[2] != length:
                known[ident], fresh = [*read_image_size(path), length], True
        except OSError as error:
            failures[ident] = f"{path!r}: {error.strerror}"
        except ValueError as error:
            failures[ident] = str(error)
        else:
            found[ident] = (known[ident][0], known[ident][1])
    if fresh:
        try:
            write_text(kept_in, json.dumps(known) + "\n")
        except OSError as error:
            logging.getLogger(__name__).warning(
                f"Sizes of images can't be kept in {str(kept_in)!r} ({error.strerror}) and will be read at each start"
            )
    return found, failures


def _read(path: str | os.PathLike) -> dict[str, list[int]]:
    """The cache: id -> height, width in pixels, length of the file in bytes."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        return {ident: [height, width, length] for ident, (height, width, length) in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
