"""The images of a report as JPEG files: one to look at and a small one for lists."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ...data.images import read_image_bgr
from ...store import ImageRow
from ...utils.files import atomic_write, checksum
from ..pages import base64_text

# Folder, longest side in pixels, JPEG quality.
LARGE, SMALL = ("images", 1280, 85), ("thumbs", 128, 70)
ReadImage = Callable[[ImageRow], np.ndarray]


def read_by_path(image: ImageRow) -> np.ndarray:
    """The pixels (h, w, 3) uint8 BGR of an image, from its file.

    Raises:
        ValueError: if there is no such image, or it can't be read.
    """
    return read_image_bgr(image.path)


class ReportImages:
    """The JPEG files below a report's folder, ``images/`` and ``thumbs/``.

    A file is written once: when it is missing, or older than the image. A command that has an image in memory may write
    it at once (:meth:`write`), so that the report needn't read it again.

    Args:
        folder: of the report.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)

    def write(self, image: ImageRow, pixels: np.ndarray) -> None:
        """Writes both files of an image, each whole or not at all.

        Args:
            image: its row; the key gives the files their name.
            pixels: (h, w, 3) uint8 BGR.

        Raises:
            OutputError: if they can't be written.
        """
        for (folder, _, _), data in zip((LARGE, SMALL), jpegs(pixels), strict=True):
            with atomic_write(self.folder / folder / _name(image), "wb") as file:
                file.write(data)

    def find(self, image: ImageRow, read: ReadImage = read_by_path) -> tuple[str | None, str | None]:
        """Makes sure that the files of an image are there.

        Args:
            image: its row.
            read: yields the pixels (h, w, 3) uint8 BGR; a ValueError or OSError means that they can't be had.

        Returns:
            The files' name below ``images/`` and ``thumbs/``, or None and a sentence that says why there are none.
        """
        if self._are_current(image):
            return _name(image), None
        try:
            pixels = read(image)
        except (ValueError, OSError) as error:
            return None, f"The image can't be shown: {error}."
        why = why_unfit(image, pixels)
        if why is None:
            self.write(image, pixels)
        return (_name(image), None) if why is None else (None, why)

    def kept(self, image: ImageRow) -> tuple[bytes, bytes] | None:
        """Both files of an image, the large and the small one; None where they are missing or old."""
        if not self._are_current(image):
            return None
        try:
            large, small = ((self.folder / folder / _name(image)).read_bytes() for folder, _, _ in (LARGE, SMALL))
        except OSError:
            return None
        return large, small

    def _are_current(self, image: ImageRow) -> bool:
        try:
            written = min((self.folder / folder / _name(image)).stat().st_mtime for folder, _, _ in (LARGE, SMALL))
        except OSError:
            return False
        try:
            return Path(image.path).stat().st_mtime <= written
        except (OSError, ValueError):
            return True  # the image is gone, or has no file: what was kept of it is all there is


def data_uris(image: ImageRow, read: ReadImage = read_by_path) -> tuple[tuple[str, str] | None, str | None]:
    """An image and its thumbnail as data URIs for a page that is one file; None and the reason where there is none."""
    try:
        pixels = read(image)
    except (ValueError, OSError) as error:
        return None, f"The image can't be shown: {error}."
    why = why_unfit(image, pixels)
    if why is not None:
        return None, why
    large, small = (f"data:image/jpeg;base64,{base64_text(data)}" for data in jpegs(pixels))
    return (large, small), None


def why_unfit(image: ImageRow, pixels: np.ndarray) -> str | None:
    """A sentence if pixels are of another size than the image was when it was explained; else None."""
    height, width = pixels.shape[:2]
    if image.size in (None, (height, width)):
        return None
    return (
        f"The image can't be shown: it was {image.size[1]} x {image.size[0]} pixels when it was explained, and is "
        f"{width} x {height} now."
    )


def jpegs(pixels: np.ndarray) -> tuple[bytes, bytes]:
    """An image (h, w, 3) uint8 BGR as two JPEGs, the large and the small one; never enlarged."""
    shown = Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1]))
    found = []
    for _, side, quality in (LARGE, SMALL):
        shown.thumbnail((side, side), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        shown.save(buffer, "JPEG", quality=quality)
        found.append(buffer.getvalue())
    return found[0], found[1]


def _name(image: ImageRow) -> str:
    # By the key, which stays the image's own where a run goes on with more images. In 256 folders.
    name = checksum(image.key)[:20]
    return f"{name[:2]}/{name}.jpg"
