"""Figures of boxes as columns in memory: what a page sorts by beside the columns that all boxes have.

Most figures are known of one kind of box alone, so that a column holds those boxes that have it.

Shape letters: B boxes, in the order of the run; K of them have a figure.
"""

import threading
from array import array
from collections import OrderedDict
from collections.abc import Mapping

import numpy as np

_MOST_ORDERS = 8  # that are kept


class FigureColumns:
    """Collects the figures of boxes, 8 bytes each, and sorts by them.

    Values are float32, as the report's page has them. It may be used by several threads once all figures are added.
    """

    def __init__(self) -> None:
        self._boxes: dict[str, array] = {}
        self._values: dict[str, array] = {}
        self._orders: OrderedDict[tuple[str, bool], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """The names of all figures, in the order in which they were met."""
        return list(self._boxes)

    def add(self, box: int, figures: Mapping[str, float]) -> None:
        """Adds the figures of a box, which is given by its place in the run; places rise."""
        for name, value in figures.items():
            self._boxes.setdefault(name, array("i")).append(box)
            self._values.setdefault(name, array("f")).append(value)

    def values(self, name: str, boxes: np.ndarray) -> list[float | None]:
        """A figure of some boxes; None where it isn't known."""
        known, values = self._column(name)
        at = np.searchsorted(known, boxes).clip(max=max(len(known) - 1, 0))
        return [
            value if there else None
            for value, there in zip(values[at].tolist(), (known[at] == boxes).tolist(), strict=True)
        ]

    def sorted(self, chosen: np.ndarray, name: str, descending: bool) -> np.ndarray:
        """(M,) chosen boxes by a figure: those without it last, equals in the order of the run.

        Args:
            chosen: (B,) bool.
            name: one of :attr:`names`.
            descending: the greatest first.

        Raises:
            KeyError: if no box has such a figure.
        """
        order = self._order(name, descending)
        rest = chosen.copy()
        rest[order] = False
        return np.concatenate([order[chosen[order]], np.flatnonzero(rest)])

    def _order(self, name: str, descending: bool) -> np.ndarray:
        """(K,) int32: the boxes that have a figure, sorted by it."""
        with self._lock:
            if (name, descending) in self._orders:
                self._orders.move_to_end((name, descending))
            else:
                boxes, values = self._column(name)
                self._orders[name, descending] = boxes[np.argsort(-values if descending else values, kind="stable")]
                if len(self._orders) > _MOST_ORDERS:
                    self._orders.popitem(last=False)
            return self._orders[name, descending]

    def _column(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(K,) int32 boxes, rising, and (K,) float32, the figure of each."""
        return np.frombuffer(self._boxes[name], np.int32), np.frombuffer(self._values[name], np.float32)
