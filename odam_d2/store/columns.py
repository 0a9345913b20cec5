"""All boxes of a run as columns in memory: what a page filters and counts anew at each turn of a knob.

SQLite takes seconds to count a million rows by class and verdict; columns take hundredths of one. Rows themselves stay
on disk, see :meth:`~odam_d2.store.reader.RunReader.rows_at`.

Shape letters: B boxes, in the order of the run.
"""

import re
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .filters import ORDERS, Filter

WORDS = ("kind", "label", "verdict", "mechanism")
FIGURES = ("score", "iou", "occlusion", "outside", "area")
_CHUNK = 50_000


class BoxColumns:
    """The columns that boxes are filtered and sorted by. It may be used by several threads.

    Args:
        rows: of each box in the order of the run: number of its image, row, :data:`WORDS` and :data:`FIGURES`; None for
            what it doesn't have.
        images: of each image in the order of the run: its number, and its name.

    Attributes:
        places: (B, 2) int64, image and row of each box.
        numbers: (N,) int64, of the images.
    """

    def __init__(self, rows: Iterable[Sequence[Any]], images: Iterable[tuple[int, str]]):
        codes: dict[tuple[str | None, ...], int] = {}
        places, words, figures = [], [], []
        for chunk in _chunks(rows):
            places.append(np.array([one[:2] for one in chunk], np.int64))
            words.append(np.array([codes.setdefault(tuple(one[2:6]), len(codes)) for one in chunk], np.int32))
            # None becomes NaN.
            figures.append(np.array([one[6:] for one in chunk], np.float64))
        self.places = np.concatenate([np.zeros((0, 2), np.int64), *places])
        self._codes = np.concatenate([np.zeros(0, np.int32), *words])
        self._words = list(codes)
        table = np.concatenate([np.zeros((0, len(FIGURES))), *figures])
        self._figures = {name: np.ascontiguousarray(table[:, k]) for k, name in enumerate(FIGURES)}
        named = list(images)
        self.numbers = np.array([number for number, _ in named], np.int64)
        self._names = [name for _, name in named]
        self._orders: dict[tuple[str, bool], np.ndarray] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._codes)

    def chosen(self, filter: Filter) -> np.ndarray:  # noqa: A002  as the reader's methods have it
        """(B,) bool: the boxes that a filter leaves."""
        fits = np.array([_fits(words, filter) for words in self._words], bool)
        found = np.ones(len(self), bool) if fits.all() else fits[self._codes]
        for name in FIGURES:
            low, high = getattr(filter, name) or (None, None)
            # What isn't known is in no range.
            if low is not None:
                found &= self._figures[name] >= low
            if high is not None:
                found &= self._figures[name] <= high
        if filter.image is not None:
            found &= np.isin(self.places[:, 0], np.asarray(filter.image))
        return found

    def counts(self, chosen: np.ndarray) -> dict[str, dict[str | None, int]]:
        """How many of the chosen boxes there are of each word, by :data:`WORDS`."""
        numbers = np.bincount(self._codes[chosen], minlength=len(self._words)).tolist()
        found: dict[str, Counter[str | None]] = {name: Counter() for name in WORDS}
        for words, number in zip(self._words, numbers, strict=True):
            for name, word in zip(WORDS, words, strict=True):
                if number:
                    found[name][word] += number
        return {name: dict(sorted(one.items(), key=_none_first)) for name, one in found.items()}

    def page(self, chosen: np.ndarray, by: str, descending: bool, offset: int, limit: int) -> list[tuple[int, int]]:
        """Image and row of chosen boxes, sorted as :func:`~odam_d2.store.filters.order_clause` says.

        Args:
            chosen: see :meth:`chosen`.
            by: one of :data:`~odam_d2.store.filters.ORDERS`.
            descending: the greatest first.
            offset: how many to leave out at the beginning.
            limit: the most to return.

        Raises:
            ValueError: if `by` is none of these.
        """
        if by not in ORDERS:
            raise ValueError(f"`by` must be one of {list(ORDERS)}; got {by!r}: choose one of these")
        if by == "place" and not descending:
            rows = np.flatnonzero(chosen)
        else:
            order = self._order(by, descending)
            rows = order[chosen[order]]
        return [(image, row) for image, row in self.places[rows[offset : offset + limit]].tolist()]

    def prepare(self) -> None:
        """Sorts by all figures, so that the first page in such an order needn't wait for it."""
        for by in FIGURES:
            for descending in (True, False):
                self._order(by, descending)

    def images(self, chosen: np.ndarray | None, name: str = "") -> tuple[np.ndarray, np.ndarray]:
        """Images with chosen boxes, in the order of the run.

        Args:
            chosen: see :meth:`chosen`; None for all boxes, and images without boxes too.
            name: a part of the images' names, in any case.

        Returns:
            Their numbers, and how many chosen boxes each has, (M,) int64 both.
        """
        of = self.places[:, 0] if chosen is None else self.places[chosen, 0]
        counts = np.bincount(np.searchsorted(self.numbers, of), minlength=len(self.numbers))
        kept = np.ones(len(self.numbers), bool) if chosen is None else counts > 0
        if name:
            pattern = re.compile(re.escape(name), re.IGNORECASE)
            kept &= np.array([pattern.search(one) is not None for one in self._names], bool)
        return self.numbers[kept], counts[kept]

    def _order(self, by: str, descending: bool) -> np.ndarray:
        """(B,) int32: the boxes sorted; those without a value last, equals in the order of the run."""
        with self._lock:
            if (by, descending) not in self._orders:
                keys = self._keys(by)
                order = np.argsort(-keys if descending else keys, kind="stable").astype(np.int32)
                self._orders[by, descending] = order
            return self._orders[by, descending]

    def _keys(self, by: str) -> np.ndarray:
        if by == "place":
            return np.arange(len(self), dtype=np.float64)
        if by in FIGURES:
            return self._figures[by]
        column = WORDS.index(by)
        ranks = {word: rank for rank, word in enumerate(sorted({words[column] or "" for words in self._words}))}
        named = (words[column] for words in self._words)
        known = [np.nan if word is None else ranks[word] for word in named]
        return np.array(known)[self._codes]


def _fits(words: Sequence[str | None], chosen: Filter) -> bool:
    asked = (getattr(chosen, name) for name in WORDS)
    return all(one is None or word in one for word, one in zip(words, asked, strict=True))


def _none_first(item: tuple[str | None, int]) -> str:
    return item[0] or ""


def _chunks(rows: Iterable[Sequence[Any]]) -> Iterable[list[Sequence[Any]]]:
    """The rows, some thousands at a time: a million of them would take a gigabyte as Python's objects."""
    chunk: list[Sequence[Any]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
