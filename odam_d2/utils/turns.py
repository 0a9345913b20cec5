"""Hands work out one by one, so that slow processes don't hold up the others."""

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from detectron2.utils import comm
from torch.distributed import distributed_c10d

Item = TypeVar("Item")


class Turns(Generic[Item]):
    """Items of which each goes to one process: to the first that asks when it is its turn.

    All processes make the same one; a counter in the process group's store says whose turn it is.

    Args:
        items: the same in all processes.
        name: of the counter; no other :class:`Turns` of these processes has it.
    """

    def __init__(self, items: Sequence[Item], name: str):
        self._items, self._key, self._alone = items, f"odam_d2/turns/{name}", 0
        self._store = distributed_c10d._get_default_store() if comm.get_world_size() > 1 else None

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Item]:
        while (place := self._count(1) - 1) < len(self._items):
            yield self._items[place]

    @property
    def taken(self) -> int:
        """How many items have been handed out, to all processes together."""
        return min(self._count(0), len(self._items))

    def _count(self, more: int) -> int:
        """The number of turns that were taken, after `more` further ones."""
        if self._store is not None:
            return self._store.add(self._key, more)
        self._alone += more
        return self._alone
