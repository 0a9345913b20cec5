"""Reads images of all common kinds as the detectors expect them."""

import glob
import os
import re
from pathlib import Path

import numpy as np
from detectron2.data.detection_utils import convert_PIL_to_numpy
from PIL import ExifTags, Image, ImageOps

# What one image may be: pixels, a file, or Pillow's own.
ImageLike = np.ndarray | str | os.PathLike | Image.Image

# What counts as an image when a whole folder is given.
SUFFIXES = (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_DEEPEST = 65535  # the largest value of a 16-bit pixel
_TURNED = (5, 6, 7, 8)  # EXIF orientations that lay an image on its side


def read_image_bgr(path: str | os.PathLike) -> np.ndarray:
    """Reads an image as viewers show it.

    EXIF orientation is applied. Grey, palette and CMYK images become colour ones as in Detectron2's ``read_image``.
    Two kinds differ from there: transparent pixels are blended onto white, as browsers show them, where Detectron2
    uncovers the colour that the transparency hides; and 16-bit grey is scaled down by its full range (65535 -> 255),
    where Detectron2 cuts everything above 255 off. Of an animation the first frame is read.

    Args:
        path: the image.

    Returns:
        (h, w, 3) uint8, BGR, contiguous.

    Raises:
        ValueError: if there is no such image, or it can't be decoded, or its pixels have no known range (floating
            point, or integers beyond 16 bits).
    """
    path = Path(path)
    try:
        if path.stat().st_size == 0:
            raise ValueError("the file is empty")
        with Image.open(path) as image:
            image.load()
            return np.ascontiguousarray(convert_PIL_to_numpy(_to_eight_bits(ImageOps.exif_transpose(image)), "BGR"))
    # A broken file can make a decoder fail with about anything: OSError, SyntaxError, struct.error, IndexError ...
    except Exception as error:
        raise ValueError(f"`path` must be a readable image; got {str(path)!r}: {_reason(error)}") from error


def to_bgr(image: ImageLike, rgb: bool = False) -> np.ndarray:
    """The pixels of an image in any form that users have.

    Args:
        image: (h, w, 3) uint8; a path, see :func:`read_image_bgr`; or a Pillow image of any mode, whose EXIF
            orientation is applied.
        rgb: whether an array is RGB; else it is BGR. Files and Pillow images know their order themselves.

    Returns:
        (h, w, 3) uint8, BGR, contiguous.

    Raises:
        ValueError: if it is something else, or a file that can't be read; the message says what.
    """
    if isinstance(image, str | os.PathLike):
        return read_image_bgr(image)
    if isinstance(image, Image.Image):
        return np.ascontiguousarray(convert_PIL_to_numpy(_to_eight_bits(ImageOps.exif_transpose(image)), "BGR"))
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or pixels.size == 0:
        raise ValueError(
            f"`image` must be (h, w, 3) uint8 as cv2.imread gives it; got {pixels.shape} {pixels.dtype}: "
            "scale it to 0 .. 255 and give it three channels, channels last"
        )
    return np.ascontiguousarray(pixels[:, :, ::-1] if rgb else pixels)


def read_image_size(path: str | os.PathLike) -> tuple[int, int]:
    """Size of an image as :func:`read_image_bgr` and Detectron2 read it, EXIF orientation applied; pixels stay unread.

    Args:
        path: the image.

    Returns:
        (height, width) in pixels.

    Raises:
        ValueError: if there is no such image, or it is of no known format.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) in _TURNED
    except Exception as error:
        raise ValueError(f"`path` must be a readable image; got {str(path)!r}: {_reason(error)}") from error
    return (width, height) if turned else (height, width)


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "its content is of no known image format"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return reason or type(error).__name__


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Blends transparency onto white and brings deep pixels to 8 bits; other images stay as they are."""
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers without a known range; save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        pixels = np.asarray(image).astype(np.int64)
        if pixels.min() < 0 or pixels.max() > _DEEPEST:
            raise ValueError(
                f"its pixels run from {pixels.min()} to {pixels.max()}, beyond 16 bits; save it with 8 or 16 bits"
            )
        return Image.fromarray(((pixels * 255 + _DEEPEST // 2) // _DEEPEST).astype(np.uint8))
    return image


def find_images(source: str | os.PathLike) -> list[Path]:
    """Finds the images that a user means.

    Args:
        source: an image; a folder, for the images in it (by their suffix, see :data:`SUFFIXES`; its subfolders are
            not searched); or a glob pattern, in which ``**`` stands for any depth of folders, for the files it matches.

    Returns:
        The paths in natural order (``2.jpg`` before ``10.jpg``), at least one. They are not opened.

    Raises:
        ValueError: if nothing is found.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()]
        expected, remedy = "a folder with images", f"of its files none ends in {' '.join(SUFFIXES)}"
    elif glob.has_magic(str(source)):
        found = [p for p in map(Path, glob.glob(str(path), recursive=True)) if p.is_file()]
        expected, remedy = "a pattern that matches files", "no file has such a path"
    else:
        found, expected, remedy = [], "an image, a folder or a glob pattern", "there is no such file or folder"
    if not found:
        raise ValueError(f"`source` must be {expected}; got {str(source)!r}: {remedy}")
    return sorted(found, key=_natural)


def _natural(path: Path) -> tuple[list[list[tuple[bool, int, str]]], str]:
    """Sorts numbers by value and before text, text without its case, folder by folder; the path breaks ties."""
    folders = [
        [
            (False, int(run), "") if run.isdecimal() else (True, 0, run)
            for run in re.split(r"(\d+)", part.lower())
            if run
        ]
        for part in path.parts
    ]
    return folders, str(path)
