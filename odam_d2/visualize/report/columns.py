"""The index that the page filters and sorts by: a column for each fact, of all explained boxes, in chunks."""

from operator import attrgetter
from typing import Any

import numpy as np

from ...store import DetectionRow
from ...utils.words import visible
from ..pages import base64_text
from .figures import flat_figures, numbers_of
from .records import verdict_of

ROWS = 50_000  # of a chunk
_WORDS = ("kind", "label", "verdict", "mechanism")
_NUMBERS = ("score", "iou", "occlusion", "outside")
_SIDES = ("x1", "y1", "x2", "y2")
_numbers = attrgetter(*_NUMBERS)


class Columns:
    """Collects rows in the order of the run, and hands them out in chunks.

    A chunk has ``start`` and ``count``, and numbers as base64, little-endian. ``columns``: name -> ``image``, ``row``
    and words in uint32, ``judged`` in uint8, all others in float32 with NaN for what isn't known; a word is its place
    in :attr:`tables`. ``figures``: name -> rows of the chunk in uint32, and the figure of each in float32.

    Attributes:
        tables: column -> its words, in the order in which they were met; the first is None.
        figures: the names of all figures met.
        count: how many rows there were.
    """

    def __init__(self) -> None:
        self.tables: dict[str, list[str | None]] = {name: [None] for name in _WORDS}
        self.figures: list[str] = []
        self.count = 0
        self._places: dict[str, dict[str | None, int]] = {name: {None: 0} for name in _WORDS}
        self._rows: list[tuple] = []
        self._numbers: list[dict[str, float]] = []

    def add(self, number: int, row: int, one: DetectionRow) -> None:
        """Adds a row of the image of a number."""
        words = (one.kind, one.label, verdict_of(one), one.mechanism)
        places = [self._place(name, word) for name, word in zip(_WORDS, words, strict=True)]
        numbers = [np.nan if value is None else value for value in _numbers(one)]
        self._rows.append((number, row, *places, one.annotation is not None, *numbers, *one.box))
        self._numbers.append(numbers_of(flat_figures(one.figures, one.verdict)))
        self.figures += [name for name in self._numbers[-1] if name not in self.figures]
        self.count += 1

    def chunk(self, least: int = ROWS) -> dict[str, Any] | None:
        """The rows that were added since the last chunk; None where these are fewer than `least`."""
        if len(self._rows) < max(least, 1):
            return None
        names = ("image", "row", *_WORDS, "judged", *_NUMBERS, *_SIDES)
        kinds = ("<u4",) * 6 + ("u1",) + ("<f4",) * 8
        columns = {
            name: base64_text(np.array(values, dtype=kind).tobytes())
            for name, kind, values in zip(names, kinds, zip(*self._rows, strict=True), strict=True)
        }
        met = dict.fromkeys(name for numbers in self._numbers for name in numbers)
        figures = {name: self._figure(name) for name in met}
        count, self._rows, self._numbers = len(self._rows), [], []
        return {"start": self.count - count, "count": count, "columns": columns, "figures": figures}

    def _figure(self, name: str) -> list[str]:
        """Where in the chunk a figure is known, and its values there: most are known for one kind of error alone."""
        found = [(place, one[name]) for place, one in enumerate(self._numbers) if name in one]
        places, values = zip(*found, strict=True)
        return [base64_text(np.array(part, kind).tobytes()) for part, kind in ((places, "<u4"), (values, "<f4"))]

    def _place(self, column: str, word: str | None) -> int:
        word = None if word is None else visible(word)
        places = self._places[column]
        if word not in places:
            places[word] = len(places)
            self.tables[column].append(word)
        return places[word]
