"""Work that several threads share."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_threads(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> list[Result]:
    """``[work(item) for item in items]``, `workers` of them at a time.

    Workers divide torch's threads among themselves. One picture leaves a second thread idle wherever an operator knows
    no threads (RoIAlign, NMS, all that is small); two pictures side by side don't.

    Args:
        work: must not change what others read; grad and inference mode are each thread's own, so it sets them itself.
        items: in the order of the results.
        workers: at least 1, which is the plain loop.
    """
    if workers == 1:
        return [work(item) for item in items]
    own = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(max(1, own // workers),)) as pool:
            return list(pool.map(work, items))
    finally:
        torch.set_num_threads(own)
