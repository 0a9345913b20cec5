"""Heat maps in 8 bits, cropped to where they are not zero."""

from typing import NamedTuple

import numpy as np

from ..structures import HeatMaps


class EightBitMaps(NamedTuple):
    """All maps of one detection.

    Attributes:
        window: top, left, height, width in cells of the grid; outside, every map rounds to zero.
        peaks: (K,) float32, the maximum of each raw map.
        maps: (K, height, width) uint8, each map scaled so that its maximum is 255.
    """

    window: tuple[int, int, int, int]
    peaks: np.ndarray
    maps: np.ndarray


def eight_bit_maps(maps: HeatMaps) -> list[EightBitMaps]:
    """Rounds the maps of each detection to 255 steps and crops rows and columns at the border that are zero.

    If all maps of a detection are zero, its window is kept as it is.

    Args:
        maps: HeatMaps of R detections with one window each, as :meth:`HeatMaps.on_one_grid` gives them.
    """
    values, windows = maps.values.cpu().numpy(), maps.windows.tolist()
    found, first = [], 0
    for top, left, height, width in windows:
        own = values[:, first : first + height * width]
        first += height * width
        found.append(_eight_bit(own, (top, left, height, width)))
    return found


def _eight_bit(values: np.ndarray, window: tuple[int, int, int, int]) -> EightBitMaps:
    top, left, height, width = window
    peaks = values.max(1, initial=0.0)
    steps = np.divide(values, peaks[:, None], out=np.zeros_like(values), where=peaks[:, None] > 0)
    maps = np.rint(steps * 255).astype(np.uint8).reshape(len(values), height, width)
    rows, columns = (np.flatnonzero(maps.any((0, axis))) for axis in (2, 1))
    if len(rows) == 0:
        return EightBitMaps(window, peaks, maps)
    start, end, begin, close = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    cropped = (int(top + start), int(left + begin), int(end - start), int(close - begin))
    return EightBitMaps(cropped, peaks, maps[:, start:end, begin:close])
