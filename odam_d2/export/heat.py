"""The heat maps of an image's boxes in 8 bits, a few at a time.

Shape letters: n boxes, (h, w) the original image.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..store import StoredImage
from ..structures import HeatMaps

# Maps that are brought to the image together hold at most this many floats.
_FLOATS = 16_000_000
_ALL = "all"


def field_of(attribute: str) -> str:
    """What exports call the maps of an attribute."""
    return f"heatmap_{attribute}"


class HeatSource:
    """Maps of one method and some attributes, of a run.

    Args:
        run: facts about the run.
        method: by which they were made; default the run's own, the first of several.
        attributes: which maps; ``all`` for all that there are. By default ``score``, or the first where it is missing.
    """

    def __init__(self, run: Mapping[str, Any], method: str | None = None, attributes: Sequence[str] | None = None):
        self._run = run
        self._method = method
        self._attributes = attributes

    def of(self, stored: StoredImage) -> "ImageHeat | None":
        """The maps of the boxes of an image; None if it has none.

        Raises:
            ValueError: if it has maps, but not those that were asked for.
        """
        maps = {method: found for (method, role), found in stored.maps.items() if role == ""}
        if not maps:
            return None
        if self._method is not None and self._method not in maps:
            raise ValueError(
                f"`method` must be one that the run has maps of; got {self._method!r}, and image "
                f"{stored.image.name!r} has {sorted(maps)}: choose one of these"
            )
        rows, heatmaps = maps[self._method or self._usual(maps)]
        if not rows:
            return None
        return ImageHeat(rows, heatmaps, self._wanted(heatmaps))

    def _usual(self, maps: Mapping[str, Any]) -> str:
        named = [self._run.get("method"), *(self._run.get("methods") or ()), "odam"]
        return next((method for method in named if method in maps), min(maps))

    def _wanted(self, heatmaps: HeatMaps) -> tuple[str, ...]:
        names = heatmaps.names
        if self._attributes is None:
            return ("score",) if "score" in names else names[:1]
        wanted = names if _ALL in self._attributes else tuple(dict.fromkeys(self._attributes))
        missing = [name for name in wanted if name not in names]
        if missing:
            raise ValueError(
                f"`attributes` must be among those that the run explains, {list(names)}; got {missing}: choose from "
                "these, or explain again with --attributes"
            )
        return wanted


class ImageHeat:
    """Maps of the boxes of one image.

    Args:
        rows: of the boxes that have maps.
        heatmaps: as many.
        attributes: those that are wanted.
    """

    def __init__(self, rows: Sequence[int], heatmaps: HeatMaps, attributes: Sequence[str]):
        self._places = {row: place for place, row in enumerate(rows)}
        self._heatmaps = heatmaps
        self.attributes = tuple(attributes)

    def __contains__(self, row: int) -> bool:
        return row in self._places

    def of_boxes(self, attribute: str, rows: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Row and map of each of some boxes that have one, in the order asked for.

        Yields:
            The map as (h, w) uint8: 255 times the map in [0, 1], rounded.
        """
        known = [row for row in rows if row in self._places]
        height, width = self._heatmaps.output_size
        most = max(1, _FLOATS // (height * width))
        for start in range(0, len(known), most):
            some = known[start : start + most]
            maps = self._heatmaps[[self._places[row] for row in some]].to_image(attribute)
            yield from zip(some, maps.mul_(255).round_().byte().numpy(), strict=True)

    def together(self, attribute: str, rows: Sequence[int]) -> np.ndarray | None:
        """The greatest value of some boxes' maps at each pixel, (h, w) uint8; None if none of them has a map."""
        total: np.ndarray | None = None
        for _, one in self.of_boxes(attribute, rows):
            total = one if total is None else np.maximum(total, one)
        return total
