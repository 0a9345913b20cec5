"""How a traced part of a detector knows that its trace still repeats what inference does."""

from collections.abc import Callable
from typing import Any

from ..utils.untyped import StockClass


class RepeatsInference(StockClass):
    """A part of a detector that does over again, with a trace, what a method of the stock class does in inference.

    A class that overrides one of its `tracing_methods` declares that they repeat inference as it is in that class. A
    class further down that overrides inference alone says no such thing, and :meth:`why_not_traced` tells.

    Attributes:
        inference_method: name of the method that is repeated.
        tracing_methods: names of the methods that repeat it.
        repeated: the function of that name which they were written for.
    """

    inference_method: str
    tracing_methods: tuple[str, ...]
    repeated: Callable[..., Any] | None = None
    _tracing: tuple[Any, ...] = ()

    def __init_subclass__(cls, **kwargs) -> None:
        super().__init_subclass__(**kwargs)
        tracing = tuple(getattr(cls, name) for name in cls.tracing_methods)
        if tracing != cls._tracing:
            cls._tracing = tracing
            cls.repeated = getattr(cls, getattr(cls, "inference_method", ""), None)

    @classmethod
    def why_not_traced(cls) -> str | None:
        """In a few words, why the trace may not be of what inference does; None if it is."""
        if getattr(cls, cls.inference_method) is not cls.repeated:
            return f"overrides `{cls.inference_method}` alone"
        return None
