"""Reads images of all common kinds as the detectors expect them."""

import contextlib
import importlib
import logging
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data.detection_utils import convert_PIL_to_numpy
from PIL import ExifTags, Image

# What one image may be: pixels, a file, or Pillow's own.
ImageLike = np.ndarray | str | os.PathLike | Image.Image

# Formats of Pillow that are no images of pixels, or that other programs would have to be started for.
_UNREAD = frozenset(("BUFR", "EPS", "FITS", "GRIB", "HDF5", "IM", "IPTC", "MCIDAS", "MPEG", "WMF"))
_said: set[str] = set()  # remarks that were logged
_DEEPEST = 65535  # the largest value of a 16-bit pixel
_DARK = 4095  # 12 bits: an image whose values end here is nearly black among 16 bits
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DEEP_RAW = re.compile(r";16[BLNS]?$")  # more than 8 bits a channel, as Pillow calls it
_ON_ITS_SIDE = (5, 6, 7, 8)  # of these orientations


def readable_formats() -> list[str]:
    """The formats that are read, by Pillow's names for them, those of its plugins among them."""
    Image.init()
    return [name for name in Image.OPEN if name not in _UNREAD]


def _suffixes() -> tuple[str, ...]:
    # Photographs of telephones; Pillow reads them where one of these packages is installed.
    for package in ("pillow_heif", "pi_heif"):
        with contextlib.suppress(ImportError):
            importlib.import_module(package).register_heif_opener()
            break
    formats = [*readable_formats(), "MPO"]  # which is read as JPEG
    return tuple(sorted(suffix for suffix, name in Image.registered_extensions().items() if name in formats))


# What counts as an image when a whole folder is given, in lower case.
SUFFIXES = _suffixes()


def read_image_bgr(path: str | os.PathLike) -> np.ndarray:
    """Reads an image as viewers show it.

    EXIF orientation is applied. Grey, palette and CMYK images become colour ones as in Detectron2's ``read_image``.
    Two kinds differ from there: transparent pixels are blended onto white, as browsers show them, where Detectron2
    uncovers the colour that the transparency hides; and 16-bit grey is scaled down by its full range (65535 -> 255; of
    a TIFF file with 9 to 15 bits by theirs), where Detectron2 cuts everything above 255 off. Of several frames or
    pages the first is read. That 16 bits were scaled, or frames left out, is logged once.

    Args:
        path: the image.

    Returns:
        (h, w, 3) uint8, BGR, contiguous.

    Raises:
        ValueError: if there is no such image, or it can't be decoded, or its pixels have no known range (floating
            point, or integers beyond 16 bits).
    """
    pixels, remarks = read_with_remarks(path)
    for words in remarks:
        if words not in _said:
            _said.add(words)
            logging.getLogger(__name__).warning(f"{os.fspath(path)!r}: {words}; of further images this isn't said")
    return pixels


def read_with_remarks(path: str | os.PathLike) -> tuple[np.ndarray, list[str]]:
    """:func:`read_image_bgr`, and what it did that the image's owner may not expect.

    Returns:
        The image; a few words for each remark, the same for all images of the kind.
    """
    path = Path(path)
    try:
        if path.stat().st_size == 0:
            raise ValueError("the file is empty")
        with Image.open(path, formats=readable_formats()) as image:
            return _pixels_and_remarks(image)
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
        return _pixels_and_remarks(image)[0]
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
        with Image.open(path, formats=readable_formats()) as image:
            width, height = image.size
            if image.format == "TIFF":
                # Pillow has turned this size already, or not, depending on its version.
                tags = vars(image)["tag_v2"]
                width, height = int(tags[ExifTags.Base.ImageWidth]), int(tags[ExifTags.Base.ImageLength])
            turned = _orientation(image) in _ON_ITS_SIDE
    except Exception as error:
        raise ValueError(f"`path` must be a readable image; got {str(path)!r}: {_reason(error)}") from error
    return (width, height) if turned else (height, width)


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "its content is of no known image format"
    if isinstance(error, Image.DecompressionBombError):
        pixels, most = re.findall(r"\d+", str(error))[:2]
        return f"its header claims {pixels} pixels, and beyond {most} Pillow suspects a decompression bomb; shrink it"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return reason or type(error).__name__


def _orientation(image: Image.Image) -> int:
    """How a camera was held, by EXIF's numbers; 1 where the image doesn't say, or says something that can't be read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # broken EXIF data fails in as many ways as broken pixels, but hides none of them
        return 1
    return value if isinstance(value, int) else 1


def _pixels_and_remarks(image: Image.Image) -> tuple[np.ndarray, list[str]]:
    remarks = ["the first of its frames or pages is read"] if _has_frames(image) else []
    deep = image.mode.startswith("I;16") or any(
        _DEEP_RAW.search(_raw_mode(tile)) for tile in getattr(image, "tile", ())
    )
    deepest = _declared_deepest(image)
    _load(image)
    # After loading: Pillow turns TIFF files itself.
    turn = _TURNS.get(_orientation(image))
    image = image if turn is None else image.transpose(turn)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers without a known range; save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        grey, words = _eight_bits(image, deepest)
        remarks.append(words)
        image = Image.fromarray(grey)
    elif deep:
        remarks.append("its 16 bits a channel are scaled to 8 by their full range")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return np.ascontiguousarray(convert_PIL_to_numpy(image, "BGR")), remarks


def _load(image: Image.Image) -> None:
    """Reads the pixels, never from a memory map.

    There Pillow takes the rows of a turned TIFF file by the size that it has turned already.
    """
    name = getattr(image, "filename", None)
    if not name:
        image.load()
        return
    try:
        vars(image)["filename"] = ""  # Pillow maps files that have a name
        image.load()
    finally:
        vars(image)["filename"] = name


def _has_frames(image: Image.Image) -> bool:
    # Telephones keep small copies of a photograph as further frames of an MPO file.
    if image.format == "MPO":
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # what is broken beyond the first frame isn't needed
        return False


def _raw_mode(tile: Any) -> str:
    """How a file holds the pixels that Pillow is about to read."""
    arguments = tile[3] if len(tile) > 3 else None
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _declared_deepest(image: Image.Image) -> int:
    """The largest value that a pixel of more than 8 bits can have; 65535 where the file doesn't tell."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(ExifTags.Base.BitsPerSample, (16,))
    number = max(bits) if isinstance(bits, tuple) and bits else bits
    return 2**number - 1 if isinstance(number, int) and 8 < number < 16 else _DEEPEST


def _eight_bits(image: Image.Image, deepest: int) -> tuple[np.ndarray, str]:
    """The pixels of a grey image of up to 16 bits as (h, w) uint8, transparent ones white, and a remark."""
    pixels = np.asarray(image).astype(np.int64)
    low, high = pixels.min(), pixels.max()
    if low < 0 or high > _DEEPEST:
        raise ValueError(f"its pixels run from {low} to {high}, beyond 16 bits; save it with 8 or 16 bits")
    grey = ((pixels * 255 + deepest // 2) // deepest).clip(0, 255).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey[pixels == clear] = 255
    if deepest == _DEEPEST and high <= _DARK:
        return grey, f"its values end below {_DARK + 1} of 16 bits, so that it is nearly black: save it with 8 bits"
    return grey, "its 16 bits are scaled to 8 by their full range"
