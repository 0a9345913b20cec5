"""Heat maps as a few bytes: 8 bits a cell, with each window's range and geometry.

A window's map of one attribute is stored as 0 .. 255 between its least and its greatest value, so that no value is off
by more than 1/510 of that range. Cells around a window where every map is zero are cut off.
"""

import struct
import zlib
from collections.abc import Sequence

import numpy as np
import torch

from ..structures import HeatMaps

_HEAD = struct.Struct("<BB")  # attributes, windows
_GEOMETRY = struct.Struct("<4i2i2f")  # window, grid, stride
_LEVEL = 9


def pack(one: HeatMaps) -> bytes:
    """The maps of one detection as bytes; :func:`unpack` reads them.

    Args:
        one: HeatMaps of a single detection, K attributes on W windows, both at most 255.

    Raises:
        ValueError: if there is not exactly one detection, or a value is not finite.
    """
    if len(one) != 1:
        raise ValueError(f"`one` must be the heat maps of one detection; got {len(one)}: index them first")
    values = one.values.detach().cpu().numpy().astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("`one` must have finite maps; got NaN or inf: explain the detection with checks on")
    parts, cells, first = [_HEAD.pack(len(values), len(one.windows))], [], 0
    for window, grid, stride in zip(one.windows.tolist(), one.grids.tolist(), one.strides.tolist(), strict=True):
        top, left, height, width = window
        maps = values[:, first : first + height * width].reshape(-1, height, width)
        first += height * width
        rows, columns = (np.flatnonzero(maps.any((0, axis))) for axis in (2, 1))
        if len(rows):
            maps = maps[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            top, left = top + int(rows[0]), left + int(columns[0])
        else:
            maps = maps[:, :1, :1]
        low = np.minimum(maps.min((1, 2), initial=0.0), 0.0)
        span = maps.max((1, 2), initial=0.0) - low
        steps = np.divide(maps - low[:, None, None], span[:, None, None], where=span[:, None, None] > 0,
                          out=np.zeros_like(maps))  # fmt: skip
        parts += [_GEOMETRY.pack(top, left, *maps.shape[1:], *grid, *stride)]
        parts += [np.stack([low, span]).astype("<f4").tobytes()]
        cells.append(np.rint(steps * 255).astype(np.uint8).tobytes())
    return zlib.compress(b"".join(parts + cells), _LEVEL)


def unpack(
    packed: Sequence[bytes],
    attributes: Sequence[str],
    image_size: tuple[int, int],
    output_size: tuple[int, int],
    class_names: Sequence[str] = (),
) -> HeatMaps:
    """The heat maps of several detections of one image.

    Args:
        packed: what :func:`pack` gave for each of R detections.
        attributes: their K names, in the order in which they were packed.
        image_size: (h, w) of the model input without padding.
        output_size: (h, w) of the original image.
        class_names: see :class:`HeatMaps`.

    Raises:
        ValueError: if the bytes are not whole, or hold another number of attributes.
    """
    windows, grids, strides, owners, values = [], [], [], [], []
    for owner, data in enumerate(packed):
        try:
            body = zlib.decompress(data)
        except zlib.error as error:
            raise ValueError(
                f"`packed` must be whole; got bytes that can't be read ({error}): do the image again"
            ) from error
        count, number = _HEAD.unpack_from(body)
        if count != len(attributes):
            raise ValueError(
                f"`attributes` must name the {count} stored maps; got {len(attributes)}: {list(attributes)}: take the "
                "names that the run has"
            )
        place, ranges = _HEAD.size, []
        for _ in range(number):
            geometry = _GEOMETRY.unpack_from(body, place)
            place += _GEOMETRY.size
            ranges.append(np.frombuffer(body, "<f4", 2 * count, place).reshape(2, count, 1))
            place += 8 * count
            windows.append(geometry[:4])
            grids.append(geometry[4:6])
            strides.append(geometry[6:])
            owners.append(owner)
        for (low, span), (_, _, height, width) in zip(ranges, windows[-number:], strict=True):
            steps = np.frombuffer(body, np.uint8, count * height * width, place).reshape(count, -1)
            place += steps.size
            values.append(low + steps.astype(np.float32) * (span / np.float32(255)))
    if not packed:
        return HeatMaps.empty(attributes, image_size, output_size)
    return HeatMaps(
        torch.from_numpy(np.concatenate(values, 1)),
        torch.tensor(windows, dtype=torch.int64),
        torch.tensor(grids, dtype=torch.int64),
        torch.tensor(strides, dtype=torch.float32),
        attributes,
        image_size,
        output_size,
        torch.tensor(owners, dtype=torch.int64),
        class_names,
    )
