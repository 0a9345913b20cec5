"""Where detectors that keep no trace get one: whoever knows how registers here, since this line knows no detector."""

from collections.abc import Callable
from typing import Any

_ADOPTERS: list[Callable[[Any], Any]] = []


def register_adopter(adopt: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Decorator of a function from a detector without a trace to one with, or None where it knows none."""
    _ADOPTERS.append(adopt)
    return adopt


def adopted(model: Any) -> Any:
    """What the first adopter that knows one makes of a detector, also of one that keeps a trace; None if none does."""
    return next((made for made in (adopt(model) for adopt in _ADOPTERS) if made is not None), None)


def as_traced(model: Any) -> Any:
    """The model itself where it keeps a trace of what it does, else what an adopter makes of it, else the model."""
    if callable(getattr(model, "trace", None)) and _traces_what_it_does(model):
        return model
    made = adopted(model)
    return model if made is None else made


def _traces_what_it_does(model: Any) -> bool:
    try:
        getattr(model, "require_traceable", lambda: None)()
    except TypeError:
        return False
    return True
