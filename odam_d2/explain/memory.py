"""What to do when memory runs out: half as much at a time, with one warning."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from ..utils.user_warnings import warn_user

Made = TypeVar("Made")


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that memory ran out; on CPUs it is a plain RuntimeError."""
    text = str(error).lower()
    return isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in text or "can't allocate memory" in text


class Halving:
    """Works on a bounded number of things at a time, and on half as many when memory runs out."""

    def __init__(self) -> None:
        self._warned = False

    def __call__(self, members: Tensor, size: int, work: Callable[[Tensor], Made]) -> Iterator[Made]:
        """Results of `work` for parts of `members`, in their order.

        Args:
            members: (n,) what there is to do.
            size: how many at a time, at least 1; a size that did not fit is not tried again within this call.
            work: from some of the members to a result; called again with fewer after it ran out of memory.

        Raises:
            torch.cuda.OutOfMemoryError: if there is not enough memory for even one.
        """
        while len(members):
            part = members[:size]
            try:
                result = work(part)
            except RuntimeError as error:
                size = self.after(error, len(part))
                continue
            yield result
            members = members[len(part) :]

    def after(self, error: RuntimeError, tried: int) -> int:
        """How many to try next, after `tried` of them gave an error; warns the first time.

        Raises:
            RuntimeError: the error itself, where it is another one or nothing is left to halve.
        """
        if tried == 1 or not out_of_memory(error):
            raise error
        if not self._warned:
            self._warned = True
            warn_user(
                f"out of memory with {tried} maps or detections at a time: going on with {tried // 2}, and fewer if "
                "need be"
            )
        return tried // 2
