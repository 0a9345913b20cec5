"""How far long work is, for whoever listens in the thread that does it, and who may stop it there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[int | None, int | None], None]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Lets somebody listen to the work of this thread inside the block.

    Args:
        listener: called now and then with how many steps are done and how many there are, or with None for both where
            that isn't known. What it raises ends the work.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell_progress(done: int | None = None, total: int | None = None) -> None:
    """Tells the listener, if there is one, how many of `total` steps are `done`; with neither, that work goes on.

    Raises:
        Exception: whatever ends the work, see :func:`listening`.
    """
    listener = _listener.get()
    if listener is not None:
        listener(done, total)


@contextmanager
def part_of_work(number: int, count: int) -> Iterator[None]:
    """Work inside the block is one of several equal parts, of each of which the listener hears in hundredths.

    Args:
        number: of the part, from 0 on.
        count: how many there are.
    """
    outer = _listener.get()
    if outer is None:
        yield
        return
    total = 100 * count

    def listen(done: int | None, of: int | None) -> None:
        outer(*((None, None) if done is None or not of else (100 * number + 100 * done // of, total)))

    outer(100 * number, total)
    with listening(listen):
        yield
    outer(100 * (number + 1), total)
