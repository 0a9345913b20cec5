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


def eight_bit_maps(one: HeatMaps) -> EightBitMaps:
    """Rounds the maps of one detection to 255 steps and crops rows and columns at the border that are zero.

    If all maps are zero, the window is kept as it is.

    Args:
        one: HeatMaps of a single detection with one window, as ``heatmaps[3].on_one_grid()`` gives them.
    """
    top, left, height, width = one.windows[0].tolist()
    values = one.values.cpu().numpy()
    peaks = values.max(1, initial=0.0)
    steps = np.divide(values, peaks[:, None], out=np.zeros_like(values), where=peaks[:, None] > 0)
    maps = np.rint(steps * 255).astype(np.uint8).reshape(len(values), height, width)
    rows, columns = (np.flatnonzero(maps.any((0, axis))) for axis in (2, 1))
    if len(rows) == 0:
        return EightBitMaps((top, left, height, width), peaks, maps)
    first, last, start, end = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    window = (int(top + first), int(left + start), int(last - first), int(end - start))
    return EightBitMaps(window, peaks, maps[:, first:last, start:end])
