"""A sorted list of boxes in groups, each below a heading, of which a page at a time is made."""

from collections.abc import Iterator

import numpy as np


class GroupedBoxes:
    """Boxes below the headings of their groups; a heading is an item of the list, as a box is.

    Args:
        boxes: (M,) boxes by their places in the run, in the order of the list.
        groups: (M,) int, the group of each: groups are listed by rising numbers, boxes of one stay in their order.
    """

    def __init__(self, boxes: np.ndarray, groups: np.ndarray):
        self._boxes, self._groups = boxes, groups
        counts = np.bincount(groups)
        self._present = np.flatnonzero(counts)
        self._counts = counts[self._present]
        ends = np.cumsum(self._counts + 1)
        self._starts = ends - self._counts - 1
        self._length = int(ends[-1]) if len(ends) else 0

    def __len__(self) -> int:
        return self._length

    def page(self, offset: int, limit: int) -> list[tuple[int, int | None]]:
        """Items of the list.

        Args:
            offset: how many to leave out at the beginning.
            limit: the most to return.

        Returns:
            Of a box its place in the run, and None; of a heading its group, and how many boxes the group has.
        """
        end = min(offset + limit, self._length)
        if offset >= end:
            return []
        first, last = (int(np.searchsorted(self._starts, item, "right")) - 1 for item in (offset, end - 1))
        # Boxes of groups that aren't seen are left alone.
        seen = (self._groups >= self._present[first]) & (self._groups <= self._present[last])
        boxes, groups = self._boxes[seen], self._groups[seen]
        if first != last:
            boxes = boxes[np.argsort(groups.astype(_narrow(self._present[last])), kind="stable")]
        return list(self._items(first, last, boxes, offset, end))

    def _items(
        self, first: int, last: int, boxes: np.ndarray, offset: int, end: int
    ) -> Iterator[tuple[int, int | None]]:
        """Those items of some groups that lie from `offset` to `end`."""
        before = 0
        for place in range(first, last + 1):
            start, count = int(self._starts[place]), int(self._counts[place])
            if start >= offset:
                yield int(self._present[place]), count
            shown = slice(max(0, offset - start - 1), max(0, end - start - 1))
            for box in boxes[before : before + count][shown].tolist():
                yield box, None
            before += count


def _narrow(greatest: int) -> type:
    """The narrowest type for numbers up to one: numpy sorts those of two bytes many times as fast."""
    return np.uint16 if greatest < 2**16 else np.int32
