"""The figures of a row as the page shows them, and as it sorts by them: one name and one value each."""

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from ...utils.words import visible

ROLES = "roles"  # what the maps of roles are of, see `image_record`; no figure


def flat_figures(figures: Mapping[str, Any], verdict: str | None) -> dict[str, Any]:
    """Figures by name, in their order: numbers, texts, booleans, and lists as they are.

    A figure inside another has both names (``heat own``), but for those inside the row's own verdict, so that a figure
    of several errors is one. What isn't known is left out.

    Args:
        figures: of a row, as the store has them.
        verdict: of the row.
    """
    kept = {name: value for name, value in figures.items() if name != ROLES}
    return dict(_flat(kept, "", verdict))


def _flat(figures: Mapping[str, Any], before: str, verdict: str | None) -> Iterator[tuple[str, Any]]:
    for name, value in figures.items():
        inside = not before and name == verdict
        # Most are numbers; to ask whether a number is a mapping takes long.
        if not isinstance(value, (int, float)) and isinstance(value, Mapping):
            yield from _flat(value, before if inside else before + _words(name), verdict)
        elif (shown := shown_value(value)) not in (None, [], ""):
            yield _title(before if inside else before + _words(name)) or visible(name), shown


@lru_cache(maxsize=4096)
def _words(name: str) -> str:
    return f"{name} ".replace("_", " ")


@lru_cache(maxsize=4096)
def _title(words: str) -> str:
    # A run has few names, and asks for them at each of its boxes.
    return visible(words).strip()


def shown_value(value: Any) -> Any:
    """A value as the page takes it: no NaN, no control characters."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(name): shown_value(one) for name, one in value.items()}
    return [shown_value(one) for one in value] if isinstance(value, list | tuple) else value


def numbers_of(figures: Mapping[str, Any]) -> dict[str, float]:
    """Of :func:`flat_figures` those that rows can be sorted by."""
    return {
        name: float(value)
        for name, value in figures.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
