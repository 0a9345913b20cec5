"""Masks of annotations: checked before pycocotools sees them, since it reads and writes memory by their numbers.

A mask is COCO's: a list of polygons ``[x1, y1, x2, y2, ...]``, or run lengths ``{"size": [h, w], "counts": ...}``, as
numbers or packed into text.
"""

from typing import Any

import numpy as np
from pycocotools import mask as mask_util

from .values import UnusableError, number, numbers, shown, side

# A polygon may lie outside of the image by this many of its longer sides: what is further is a mistake, and drawing
# takes time and memory by the length of the outline.
FAR = 10
_LONGEST_OUTLINE = 1000  # in sums of both sides
_UNKNOWN_SIDE = 100_000  # in place of a size that nobody knows
_LEAST = 6  # numbers of a polygon
_MOST_BITS = 35  # of a packed run: more than any image's pixels
_MOST_MASKED = 2**31  # pixels: pycocotools counts in 32 bits


def check_segmentation(value: Any, size: tuple[int, int] | None) -> tuple[Any, list[str]]:
    """A mask that pycocotools can draw safely.

    Args:
        value: what the file has.
        size: (h, w) of the image in pixels; None where it isn't known.

    Returns:
        The mask, None where there is none (null, an empty list or object, empty polygons); and what was repaired.

    Raises:
        UnusableError: if it is none, or one of another image.
    """
    if value is None or (isinstance(value, list | tuple | dict | str) and not len(value)):
        return None, []
    if isinstance(value, dict):
        return _run_lengths(value, size)
    if isinstance(value, list | tuple | np.ndarray):
        if len(value) == 1 and isinstance(value[0], dict):
            mask, repairs = _run_lengths(value[0], size)
            return mask, [*repairs, "run lengths in a list"]
        return _polygons(list(value), size)
    raise UnusableError("the mask is neither polygons nor run lengths", shown(value))


def decode_segmentation(value: Any, size: tuple[int, int]) -> np.ndarray:
    """The pixels of a mask.

    Args:
        value: polygons or run lengths.
        size: (h, w) of the image in pixels.

    Returns:
        (h, w) bool.

    Raises:
        UnusableError: as :func:`check_segmentation`, which is asked first.
    """
    mask, _ = check_segmentation(value, size)
    if mask is None:
        return np.zeros(size, dtype=bool)
    return mask_util.decode(_packed(mask, size)).astype(bool)


def pack_segmentation(mask: dict) -> dict:
    """Run lengths that were checked, packed into text."""
    return _packed(mask, (mask["size"][0], mask["size"][1]))


def area_of_segmentation(mask: Any, size: tuple[int, int]) -> float:
    """How many pixels a mask that was checked has in an image of (h, w)."""
    return float(mask_util.area(_packed(mask, size)))


def _packed(mask: Any, size: tuple[int, int]) -> dict:
    if isinstance(mask, dict) and not isinstance(mask["counts"], list):
        return mask
    packed = mask_util.frPyObjects(mask, *size)
    return mask_util.merge(packed) if isinstance(packed, list) else packed


def box_of_segmentation(mask: Any) -> list[float] | None:
    """The box (x, y, width, height) around a mask that was checked, in pixels; None around nothing."""
    if isinstance(mask, dict):
        x1, y1, width, height = map(float, mask_util.toBbox(pack_segmentation(mask)))
    else:
        points = np.concatenate([np.asarray(part).reshape(-1, 2) for part in mask])
        (x1, y1), (x2, y2) = points.min(0).tolist(), points.max(0).tolist()
        width, height = x2 - x1, y2 - y1
    return [x1, y1, width, height] if width > 0 and height > 0 else None


def _polygons(parts: list, size: tuple[int, int] | None) -> tuple[list | None, list[str]]:
    repairs = []
    if not any(isinstance(part, list | tuple | np.ndarray) for part in parts):
        parts, repairs = [parts], ["a polygon as a flat list"]
    elif len(parts) > 2 and all(_is_point(part) for part in parts):
        parts, repairs = [parts], []
    kept, short, empty, outside = [], 0, 0, 0
    for part in parts:
        if isinstance(part, list | tuple) and part and all(_is_point(point) for point in part):
            part = [value for point in part for value in point]
            repairs.append("a polygon as a list of points")
        try:
            found, repaired = numbers(part)
        except UnusableError as error:
            raise UnusableError(f"a polygon of the mask {error.reason}", error.detail) from error
        if repaired:
            repairs.append("numbers as text in a polygon")
        if len(found) >= _LEAST:
            if _reaches_image(found, size):
                kept.append(found)
            else:
                outside += 1
        elif found:
            short += 1
        else:
            empty += 1
    if not kept:
        if outside:
            raise UnusableError("the mask lies outside of the image", shown(parts))
        if short:
            raise UnusableError(f"no polygon of the mask has {_LEAST} numbers", shown(parts))
        return None, []
    if short or empty:
        repairs.append(f"polygons of fewer than {_LEAST} numbers dropped")
    if outside:
        repairs.append("polygons outside of the image dropped")
    return kept, list(dict.fromkeys(repairs))


def _is_point(part: Any) -> bool:
    return isinstance(part, list | tuple) and len(part) == 2 and not any(isinstance(v, list | tuple) for v in part)


def _reaches_image(part: list[float], size: tuple[int, int] | None) -> bool:
    """Whether a polygon may cover pixels; raises UnusableError for one that can't be drawn."""
    if len(part) % 2:
        raise UnusableError("a polygon of the mask has an odd number of numbers", f"{len(part)} of them")
    height, width = size or (_UNKNOWN_SIDE, _UNKNOWN_SIDE)
    x, y = part[0::2], part[1::2]
    x1, y1, x2, y2 = min(x), min(y), max(x), max(y)
    reach = FAR * max(height, width)
    if min(x1, y1) < -reach or x2 > width + reach or y2 > height + reach:
        raise UnusableError(
            "a polygon of the mask lies absurdly far outside of the image", f"{x1:g}, {y1:g} to {x2:g}, {y2:g}"
        )
    longest = _LONGEST_OUTLINE * (height + width)
    if len(x) * max(x2 - x1, y2 - y1) > longest:
        steps = np.abs(np.diff(np.asarray(part).reshape(-1, 2), axis=0, append=[part[:2]])).max(1)
        if steps.sum() > longest:
            raise UnusableError("the outline of a polygon of the mask is absurdly long", f"{steps.sum():g} pixels")
    return size is None or (x2 > 0 and y2 > 0 and x1 < width and y1 < height)


def _run_lengths(value: dict, size: tuple[int, int] | None) -> tuple[dict, list[str]]:
    repairs, counts = [], value.get("counts")
    own = value.get("size")
    if own is None and size is not None:
        own, repairs = list(size), ["run lengths without a size"]
    try:
        if not isinstance(own, list | tuple) or len(own) != 2:
            raise UnusableError("is no pair of sides", shown(own))
        (height, changed), (width, changed_too) = side(own[0]), side(own[1])
    except UnusableError as error:
        raise UnusableError(f"the size of the mask {error.reason}", error.detail) from error
    if changed or changed_too:
        repairs.append("the size of run lengths as text or with a decimal point")
    if size is not None and (height, width) != tuple(size):
        raise UnusableError(
            "the mask is of another size than the image",
            f"{width} x {height} instead of {size[1]} x {size[0]}, width x height",
        )
    if isinstance(counts, str | bytes):
        runs = _unpacked(counts)
    elif isinstance(counts, list | tuple):
        runs = np.array([_run(count) for count in counts], dtype=np.float64)
        if any(type(count) is not int for count in counts):
            repairs.append("run lengths as text or with a decimal point")
            counts = [int(run) for run in runs.tolist()]
        counts = list(counts)
    else:
        raise UnusableError("the run lengths of the mask are neither text nor numbers", shown(counts))
    if len(runs) and runs.min() < 0:
        raise UnusableError("a run length of the mask is negative", f"{runs.min():g}")
    if height * width > _MOST_MASKED:
        raise UnusableError("the mask has more pixels than COCO's run lengths can count", f"{width} x {height}")
    if runs.sum() != height * width:
        raise UnusableError(
            "the run lengths of the mask don't add up to the pixels of the image",
            f"{runs.sum():.0f} instead of {height * width}",
        )
    return {"size": [height, width], "counts": counts}, repairs


def _run(count: Any) -> float:
    try:
        found, _ = number(count)
    except UnusableError as error:
        raise UnusableError(f"a run length of the mask {error.reason}", error.detail) from error
    if not found.is_integer() or abs(found) >= 2**_MOST_BITS:
        raise UnusableError("a run length of the mask is no whole number", shown(count))
    return found


def _unpacked(packed: str | bytes) -> np.ndarray:
    """The run lengths in COCO's packed text: five bits a character, the sixth says that more follow.

    From the fourth on, a run is given as its difference from the one before the last.
    """
    try:
        data = packed.encode("ascii") if isinstance(packed, str) else packed
    except UnicodeEncodeError as error:
        raise UnusableError("the packed run lengths of the mask hold other characters", shown(packed)) from error
    codes = np.frombuffer(data, dtype=np.uint8).astype(np.int64) - 48
    if len(codes) and (codes.min() < 0 or codes.max() > 63):
        raise UnusableError("the packed run lengths of the mask hold other characters", shown(packed))
    last = (codes & 32) == 0
    if not len(codes) or not last[-1]:
        raise UnusableError("the packed run lengths of the mask are cut off", shown(packed))
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if 5 * lengths.max() > _MOST_BITS:
        raise UnusableError("a run length of the mask is no whole number", shown(packed))
    place = np.arange(len(codes)) - np.repeat(starts, lengths)
    runs = np.add.reduceat((codes & 31) << (5 * place), starts)
    runs -= np.where(codes[ends] & 16, 1 << (5 * lengths), 0)
    for first in (1, 2):
        runs[first::2] = np.cumsum(runs[first::2])
    return runs.astype(np.float64)
