"""Whose detections look at whom: the heat of each class' detections on the objects of each class, over a data set.

Shape letters: R detections, G objects of one image, K classes, N images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..evaluation.bootstrap import bootstrap_intervals
from .context import HeatContext

OWN, BACKGROUND = "own object", "background"
_CELL = np.dtype([("image", "i8"), ("row", "i4"), ("column", "i4"), ("count", "i4"), ("share", "f8"), ("even", "f8")])


@dataclass
class ContextSummary:
    """Mean shares of heat with their intervals. Rows are the classes of detections.

    Columns 0 .. K - 1 are the classes of *other* objects: the mean is over those detections of the row's class that
    have another object of the column's class in their image, and of the heat on all of these together. Column K is the
    detections' own objects, column K + 1 the background; these are over all detections of the class.

    Attributes:
        counts: (K, K + 2) int64, how many detections a mean is over.
        images: (K, K + 2) int64, in how many images.
        share: (K, K + 2) float64 in [0, 1]; NaN where there is no such detection, here and below.
        low: (K, K + 2) lower bound of the bootstrap interval over images.
        high: (K, K + 2) upper bound.
        even: (K, K) what `share` would be if heat were spread evenly over the image.
    """

    counts: np.ndarray
    images: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray
    even: np.ndarray


class ContextMatrix:
    """Gathers :class:`HeatContext` of images, in any order and from any number of processes.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self._cells: list[np.ndarray] = []

    def add(self, image: int, classes: np.ndarray, context: HeatContext, object_classes: np.ndarray) -> None:
        """Adds the detections of an image that have an object of their own, and heat.

        Args:
            image: its place in the data set.
            classes: (R,) int64, of the detections, below K.
            context: of the detections.
            object_classes: (G,) int64.
        """
        counted = (context.own_objects >= 0) & ~np.isnan(context.own)
        labels = np.unique(object_classes[(object_classes >= 0) & (object_classes < self.num_classes)])
        of_class = object_classes[:, None] == labels  # (G, L)
        for label in np.unique(classes[counted]).tolist():
            rows = np.flatnonzero(counted & (classes == label))
            others = np.arange(len(object_classes)) != context.own_objects[rows][:, None]  # (r, G)
            neighbours = (others.astype(np.int64) @ of_class > 0).sum(0)  # (L,)
            cells = np.zeros(len(labels) + 2, dtype=_CELL)
            cells["image"], cells["row"] = image, label
            cells["column"] = [*labels, self.num_classes, self.num_classes + 1]
            cells["count"] = [*neighbours, len(rows), len(rows)]
            for name, shares in (("share", context.on_others), ("even", context.even)):
                cells[name][: len(labels)] = shares[rows].sum(0) @ of_class
            cells["share"][-2:] = context.own[rows].sum(), context.background[rows].sum()
            self._cells.append(cells[cells["count"] > 0])

    def rows_of(self, image: int) -> list[list[float]]:
        """The sums of an image, as JSON can hold them; :meth:`add_rows` takes them back."""
        found = np.concatenate([*self._cells, np.empty(0, dtype=_CELL)])
        return [list(cell[1:]) for cell in found[found["image"] == image].tolist()]

    def add_rows(self, image: int, rows: Sequence[Sequence[float]]) -> None:
        """Adds an image by what :meth:`rows_of` gave.

        Args:
            image: its place in the data set.
            rows: of one image.
        """
        self._cells.append(np.array([(image, *row) for row in rows], dtype=_CELL))

    def merge(self, other: ContextMatrix) -> None:
        """Adds the images of another matrix, which must be others."""
        self._cells.extend(other._cells)

    def summary(self, level: float = 0.95, resamplings: int = 2000, seed: int = 0) -> ContextSummary:
        """The means over all images that were added; independent of their order, to the last digit.

        Args:
            level: of the intervals, in (0, 1).
            resamplings: of images.
            seed: of the draws.
        """
        cells = np.concatenate([*self._cells, np.empty(0, dtype=_CELL)])
        cells = cells[np.lexsort((cells["column"], cells["image"], cells["row"]))]
        shape = (self.num_classes, self.num_classes + 2)
        counts, images = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        share, low, high, even = np.full((4, *shape), np.nan)
        for row in np.unique(cells["row"]).tolist():
            mine = cells[cells["row"] == row]
            names, place = np.unique(mine["image"], return_inverse=True)
            tables = np.zeros((3, len(names), shape[1]))
            for table, name in zip(tables, ("count", "share", "even")):
                table[place, mine["column"]] = mine[name]
            number, sums, even_sums = tables
            counts[row], images[row] = number.sum(0), (number > 0).sum(0)
            low[row], high[row] = bootstrap_intervals(sums, number, level, resamplings, seed)
            there = counts[row] > 0
            share[row, there] = sums.sum(0)[there] / counts[row, there]
            even[row, there] = even_sums.sum(0)[there] / counts[row, there]
        return ContextSummary(counts, images, share, low, high, even[:, : self.num_classes])
