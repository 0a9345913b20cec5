"""What else a run knows of a box, as columns of numbers and texts."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from .chosen import ChosenImage

# By these words a column says what it holds; of two that meet in one column the common one.
BOOL, INT, FLOAT, TEXT = "bool", "int", "float", "text"
Value = bool | int | float | str
_KINDS: dict[type, str] = {bool: BOOL, int: INT, float: FLOAT, str: TEXT}


def flat(figures: Mapping[str, Any], above: str = "figures") -> dict[str, Value]:
    """Figures by dotted names, ``figures.neighbour.iou``; lists are JSON, and what is None or not finite is left out.

    Args:
        figures: what JSON can hold.
        above: the name that all begin with.
    """
    found: dict[str, Value] = {}
    for name, value in figures.items():
        called = f"{above}.{name}"
        if isinstance(value, Mapping):
            found.update(flat(value, called))
        elif isinstance(value, list | tuple):
            found[called] = json.dumps(value)
        elif value is not None and not (isinstance(value, float) and not math.isfinite(value)):
            found[called] = value
    return found


def columns_of(images: Iterable[ChosenImage]) -> dict[str, str]:
    """Name -> "bool", "int", "float" or "text" of all figures of the chosen boxes, by name.

    A column whose boxes disagree holds floats where all are numbers, else texts.
    """
    found: dict[str, set[str]] = {}
    for one in images:
        for _, box in one.boxes:
            for name, value in flat(box.figures).items():
                found.setdefault(name, set()).add(_KINDS[type(value)])
    return {name: _common(kinds) for name, kinds in sorted(found.items())}


def _common(kinds: set[str]) -> str:
    if len(kinds) == 1:
        return next(iter(kinds))
    return FLOAT if kinds == {INT, FLOAT} else TEXT


def in_column(value: Value, kind: str) -> Value:
    """A figure as its column holds it."""
    if kind == FLOAT:
        return float(value)
    return value if kind != TEXT or isinstance(value, str) else json.dumps(value)
