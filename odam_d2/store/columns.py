"""All boxes of a run as columns in memory: what a page filters and counts anew at each turn of a knob.

SQLite takes seconds to count a million rows by class and verdict; columns take hundredths of one. Rows themselves stay
on disk, see :meth:`~odam_d2.store.reader.RunReader.rows_at`.

Shape letters: B boxes, in the order of the run.
"""

import re
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ..utils.words import visible
from .filters import ORDERS, Filter

WORDS = ("kind", "label", "verdict", "mechanism")
FIGURES = ("score", "iou", "occlusion", "outside", "area")
IMAGE = "image"
GROUPS = (IMAGE, *WORDS)  # what boxes are put in groups by
IMAGE_ORDERS = ("place", "name", "boxes", "failed")
_CHUNK = 50_000
_DIGITS = re.compile(r"(\d+)")


class BoxColumns:
    """The columns that boxes are filtered and sorted by. It may be used by several threads.

    Args:
        rows: of each box in the order of the run: number of its image, row, :data:`WORDS`, whether it is judged against
            an annotated object, and :data:`FIGURES`; None for what it doesn't have.
        images: of each image in the order of the run: its number, its name, and whether it failed.

    Attributes:
        numbers: (N,) int64, of the images.
    """

    def __init__(self, rows: Iterable[Sequence[Any]], images: Iterable[tuple[int, str, Any]]):
        named = list(images)
        self.numbers = np.array([number for number, _, _ in named], np.int64)
        self._names = [name for _, name, _ in named]
        # As pages show names, and compare them.
        self._lowered = [visible(name).lower() for name in self._names]
        self._failed = np.array([bool(failed) for _, _, failed in named], bool)
        codes: dict[tuple[str | None, ...], int] = {}
        columns = _Joined(np.int32, np.int32, np.int32, bool, *[np.float64] * len(FIGURES))
        for chunk in _chunks(rows):
            of, row = np.array([one[:2] for one in chunk], np.int64).T
            words = [codes.setdefault(tuple(one[2:6]), len(codes)) for one in chunk]
            # None becomes NaN.
            figures = np.array([one[7:] for one in chunk], np.float64)
            columns.add(np.searchsorted(self.numbers, of), row, words, [one[6] for one in chunk], *figures.T)
        self._image, self._row, self._codes, self._judged, *known = columns.arrays()
        self._figures = dict(zip(FIGURES, known, strict=True))
        self._words = list(codes)
        self._totals = np.bincount(self._image, minlength=len(self.numbers))
        self._ends = np.cumsum(self._totals)
        self._orders: dict[tuple[str, bool], np.ndarray] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def failed(self) -> int:
        """How many images failed."""
        return int(self._failed.sum())

    def has(self, figure: str) -> bool:
        """Whether any box has one of :data:`FIGURES`."""
        return not np.isnan(self._figures[figure]).all()

    def first(self) -> int | None:
        """The number of the first image that has boxes, else of the first; None without images."""
        return int(self.numbers[np.argmax(self._totals > 0)]) if len(self.numbers) else None

    def total(self, number: int) -> int:
        """How many boxes the image of a number has."""
        return int(self._totals[np.searchsorted(self.numbers, number)])

    def places(self, boxes: np.ndarray) -> list[tuple[int, int]]:
        """Number of the image, and row, of some boxes, which are given by their places in the run."""
        return list(zip(self.numbers[self._image[boxes]].tolist(), self._row[boxes].tolist(), strict=True))

    def name(self, number: int) -> str:
        """The name of the image of a number."""
        return self._names[np.searchsorted(self.numbers, number)]

    def chosen(self, filter: Filter, name: str = "") -> np.ndarray:  # noqa: A002  as the reader's methods have it
        """(B,) bool: the boxes that a filter leaves.

        Args:
            filter: it.
            name: a part of the names of their images, in any case.
        """
        found, fits = self._apart_from_words(filter, name), self._fitting(filter)
        return found if fits.all() else found & fits[self._codes]

    def _apart_from_words(self, filter: Filter, name: str) -> np.ndarray:  # noqa: A002
        """(B,) bool: the boxes that all but the filter's words leave."""
        found = np.ones(len(self), bool) if filter.judged is None else self._judged == filter.judged
        for figure in FIGURES:
            low, high = getattr(filter, figure) or (None, None)
            # What isn't known is in no range.
            if low is not None:
                found &= self._figures[figure] >= low
            if high is not None:
                found &= self._figures[figure] <= high
        images = np.ones(len(self.numbers), bool) if filter.image is None else np.isin(self.numbers, filter.image)
        if name:
            images &= self._named(name)
        return found if images.all() else found & images[self._image]

    def _fitting(self, filter: Filter, without: str | None = None) -> np.ndarray:  # noqa: A002
        """Of each combination of words, whether the filter's words leave it; those of one column may be left out."""
        asked = {name: getattr(filter, name) for name in WORDS if name != without}
        given = {name: None if words is None else frozenset(words) for name, words in asked.items()}
        return np.array([_fits(words, given) for words in self._words], bool)

    def _named(self, name: str) -> np.ndarray:
        """(N,) bool: the images whose name has a part, in any case."""
        wanted = name.lower()
        return np.array([wanted in one for one in self._lowered], bool)

    def counts(self, chosen: np.ndarray) -> dict[str, dict[str | None, int]]:
        """How many of the chosen boxes there are of each word, by :data:`WORDS`."""
        numbers = np.bincount(self._codes[chosen], minlength=len(self._words))
        return {name: self._by_word(name, numbers) for name in WORDS}

    def choices(self, filter: Filter, name: str = "") -> dict[str, dict[str | None, int]]:  # noqa: A002
        """How many boxes each word would leave beside all other filters: those of its own column don't count.

        Args:
            filter: see :meth:`chosen`, as `name`.
            name: it.
        """
        numbers = np.bincount(self._codes[self._apart_from_words(filter, name)], minlength=len(self._words))
        return {column: self._by_word(column, numbers * self._fitting(filter, column)) for column in WORDS}

    def _by_word(self, name: str, numbers: np.ndarray) -> dict[str | None, int]:
        """From how many boxes there are of each combination to how many of each word of a column, by the alphabet."""
        column, found = WORDS.index(name), Counter[str | None]()
        for words, number in zip(self._words, numbers.tolist(), strict=True):
            if number:
                found[words[column]] += number
        return dict(sorted(found.items(), key=_none_first))

    def sorted(self, chosen: np.ndarray, by: str, descending: bool) -> np.ndarray:
        """(M,) chosen boxes by their places in the run, as :func:`~odam_d2.store.filters.order_clause` sorts them.

        Args:
            chosen: see :meth:`chosen`.
            by: one of :data:`~odam_d2.store.filters.ORDERS`.
            descending: the greatest first.

        Raises:
            ValueError: if `by` is none of these.
        """
        if by not in ORDERS:
            raise ValueError(f"`by` must be one of {list(ORDERS)}; got {by!r}: choose one of these")
        if by == "place":
            return np.flatnonzero(chosen)[:: -1 if descending else 1]
        order = self._order(by, descending)
        return order[chosen[order]]

    def groups(self, by: str) -> tuple[np.ndarray, list[str | None]]:
        """What boxes are put in groups by.

        Args:
            by: one of :data:`GROUPS`.

        Returns:
            (B,) int: the group of each box, in the order in which groups are shown, and the groups' titles: names of
            images in the order of the run, or words by the alphabet; None, for boxes without one, is the last.

        Raises:
            ValueError: if `by` is none of these.
        """
        if by == IMAGE:
            return self._image, list(self._names)
        if by not in WORDS:
            raise ValueError(f"`by` must be one of {list(GROUPS)}; got {by!r}: choose one of these")
        column = WORDS.index(by)
        found = {words[column] for words in self._words}
        titles: list[str | None] = [*sorted(word for word in found if word is not None), None]
        places = {word: place for place, word in enumerate(titles)}
        ranks = np.array([places[words[column]] for words in self._words], np.int32)
        return ranks[self._codes], titles

    def rows_of(self, number: int, chosen: np.ndarray) -> list[int]:
        """The rows of the chosen boxes of an image, rising."""
        place = int(np.searchsorted(self.numbers, number))
        end = int(self._ends[place])
        own = slice(end - int(self._totals[place]), end)
        return self._row[own][chosen[own]].tolist()

    def prepare(self) -> None:
        """Sorts by all figures, so that the first page in such an order needn't wait for it."""
        for by in FIGURES:
            for descending in (True, False):
                self._order(by, descending)

    def images(self, chosen: np.ndarray | None, name: str = "", by: str = "place") -> tuple[np.ndarray, np.ndarray]:
        """Images with chosen boxes.

        Args:
            chosen: see :meth:`chosen`; None for all boxes, and images without boxes too.
            name: a part of the images' names, in any case.
            by: their order, one of :data:`IMAGE_ORDERS`: that of the run, their names, with most chosen boxes first, or
                those that failed first.

        Returns:
            Their numbers, and how many chosen boxes each has, (M,) int64 both.

        Raises:
            ValueError: if `by` is none of these.
        """
        counts = self._totals if chosen is None else np.bincount(self._image[chosen], minlength=len(self.numbers))
        kept = np.ones(len(self.numbers), bool) if chosen is None else counts > 0
        if name:
            kept &= self._named(name)
        places = np.flatnonzero(kept)
        if by == "name":
            places = places[np.argsort(self._name_ranks[places], kind="stable")]
        elif by == "boxes":
            places = places[np.argsort(-counts[places], kind="stable")]
        elif by == "failed":
            places = places[np.argsort(~self._failed[places], kind="stable")]
        elif by != "place":
            raise ValueError(f"`by` must be one of {list(IMAGE_ORDERS)}; got {by!r}: choose one of these")
        return self.numbers[places], counts[places]

    @cached_property
    def _name_ranks(self) -> np.ndarray:
        """(N,) int64: the places of the images by their names, in which numbers count as such."""
        ranks = np.empty(len(self._names), np.int64)
        ranks[sorted(range(len(self._names)), key=lambda place: _natural(self._lowered[place]))] = np.arange(len(ranks))
        return ranks

    def _order(self, by: str, descending: bool) -> np.ndarray:
        """(B,) int32: the boxes sorted; those without a value last, equals in the order of the run."""
        with self._lock:
            if (by, descending) not in self._orders:
                keys = self._keys(by)
                order = np.argsort(-keys if descending else keys, kind="stable").astype(np.int32)
                self._orders[by, descending] = order
            return self._orders[by, descending]

    def _keys(self, by: str) -> np.ndarray:
        if by in FIGURES:
            return self._figures[by]
        groups, titles = self.groups(by)
        known = np.arange(len(titles), dtype=np.float64)
        known[-1] = np.nan
        return known[groups]


class _Joined:
    """Columns that come in parts."""

    def __init__(self, *kinds: Any):
        self._parts: list[list[np.ndarray]] = [[np.zeros(0, kind)] for kind in kinds]

    def add(self, *columns: Any) -> None:
        for parts, column in zip(self._parts, columns, strict=True):
            parts.append(np.array(column, parts[0].dtype))

    def arrays(self) -> list[np.ndarray]:
        return [np.concatenate(parts) for parts in self._parts]


def _fits(words: Sequence[str | None], given: Mapping[str, Collection[str | None] | None]) -> bool:
    asked = (given.get(name) for name in WORDS)
    return all(one is None or word in one for word, one in zip(words, asked, strict=True))


def _none_first(item: tuple[str | None, int]) -> str:
    return item[0] or ""


def _natural(name: str) -> list[tuple[int, int, str]]:
    """What names are sorted by: `scene 9` comes before `scene 10`."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in _DIGITS.split(name) if part]


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
