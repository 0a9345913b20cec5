"""Work that several threads share, and what one thread must not notice of another."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

Item = TypeVar("Item")
Result = TypeVar("Result")

_model_locks: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_all_locks = threading.Lock()


def model_lock(model: nn.Module) -> Any:
    """The re-entrant lock of a model, the same one each time: whoever holds it has the model's hooks to itself."""
    with _all_locks:
        return _model_locks.setdefault(model, threading.RLock())


def in_this_thread(hook: Callable[..., Any]) -> Callable[..., Any]:
    """A module's hook that does its part in the thread that made it alone.

    Hooks lie on modules, which threads share: without this one that records a forward pass would also record, or
    replace, what the module gives to another thread's at the same time.
    """
    owner = threading.get_ident()

    def guarded(*args: Any) -> Any:
        return hook(*args) if threading.get_ident() == owner else None

    return guarded


def map_in_threads(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> list[Result]:
    """``[work(item) for item in items]``, `workers` of them at a time.

    Workers divide torch's threads among themselves. One image leaves a second thread idle wherever an operator knows
    no threads (RoIAlign, NMS, all that is small); two images side by side don't.

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
