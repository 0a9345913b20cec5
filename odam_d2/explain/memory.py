"""What to do when memory runs out: half as much at a time, and say so once."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from ..utils.user_warnings import warn_user

Made = TypeVar("Made")


def out_of_memory(error: RuntimeError) -> bool:
    """Whether that is what an error says; on CPUs it is a plain RuntimeError."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "can't allocate memory" in text


class Halving:
    """Does work on a bounded number of detections at a time, on half as many where memory runs out."""

    def __init__(self) -> None:
        self._warned = False

    def __call__(self, members: Tensor, size: int, work: Callable[[Tensor], Made]) -> Iterator[Made]:
        """Results of `work` for parts of `members`, in their order.

        Args:
            members: (n,) what there is to do.
            size: how many at a time, at least 1; what did not fit is not tried again within this call.
            work: from some of the members to a result; is asked again for fewer after it ran out of memory.

        Raises:
            torch.OutOfMemoryError: if there is not enough memory for even one.
        """
        while len(members):
            part = members[:size]
            try:
                result = work(part)
            except RuntimeError as error:
                if len(part) == 1 or not out_of_memory(error):
                    raise
                size = len(part) // 2
                self.say(len(part), size)
                continue
            yield result
            members = members[len(part) :]

    def say(self, tried: int, now: int) -> None:
        """Warns, the first time."""
        if not self._warned:
            self._warned = True
            warn_user(
                f"out of memory with {tried} maps or detections at a time: going on with {now}, and fewer if need be"
            )
