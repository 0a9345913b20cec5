"""What a detector's own methods are given and give while it runs, without a change to it or to its class."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import new_class
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Call:
    """One call of a method.

    Attributes:
        arguments: what it was given, by position, then by name; tensors among them as copies with their graph, since
            the method, and whoever takes its result, may work in place.
        result: what it gave.
    """

    arguments: tuple[Any, ...]
    result: Any


# A context's own, so that threads that run the same module hear nothing of each other.
_HEARD: ContextVar[dict[str, list[Call]] | None] = ContextVar("odam_d2_heard", default=None)
_LISTENERS: dict[tuple[type, tuple[str, ...]], type] = {}


@contextmanager
def overhearing(module: nn.Module, names: Sequence[str]) -> Iterator[tuple[Any, dict[str, list[Call]]]]:
    """A second object on the state of a module, whose methods are overheard inside the block.

    Args:
        module: the detector. To run the second object is to run it.
        names: of methods; what its class hasn't as a plain method, or its object replaces, is passed over.

    Yields:
        The second object; name -> its calls so far.
    """
    kind = type(module)
    plain = (name for name in names if inspect.isfunction(inspect.getattr_static(kind, name, None)))
    own = tuple(name for name in plain if name not in vars(module))
    if (kind, own) not in _LISTENERS:
        members = {name: _overheard(name, getattr(kind, name)) for name in own} | {"__module__": kind.__module__}
        _LISTENERS[kind, own] = new_class(kind.__name__, (kind,), {}, lambda space: space.update(members))
    view: Any = object.__new__(_LISTENERS[kind, own])
    object.__setattr__(view, "__dict__", vars(module))
    heard: dict[str, list[Call]] = {name: [] for name in names}
    token = _HEARD.set(heard)
    try:
        yield view, heard
    finally:
        _HEARD.reset(token)


def _overheard(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        heard = _HEARD.get()
        if heard is None:
            return method(self, *args, **kwargs)
        given = tuple(one.clone() if isinstance(one, Tensor) else one for one in (*args, *kwargs.values()))
        result = method(self, *args, **kwargs)
        heard[name].append(Call(given, result))
        return result

    return call
