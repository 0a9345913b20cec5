"""What else a run knows of a box, as columns of numbers and texts."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .chosen import ChosenImage

# By these words a column says what it holds.
BOOL, INT, FLOAT, TEXT = "bool", "int", "float", "text"
Value = bool | int | float | str
_KINDS: dict[type, str] = {bool: BOOL, int: INT, float: FLOAT, str: TEXT}
_TOP = "figures"
# Figures by something else than a word of a program, "dog #12", or by more words than this, have one column together:
# there may be as many as objects in the data set.
_WORD = re.compile(r"[\w+-]+")
_MOST = 50


class FigureColumns:
    """The columns of the figures of some boxes: ``figures.likeness``, ``figures.neighbour.iou``.

    Lists are JSON; what is None or not finite is left out. A column whose boxes disagree holds floats where all are
    numbers, else texts.

    Args:
        images: the boxes; they are read once, and not kept.

    Attributes:
        kinds: name -> "bool", "int", "float" or "text", by name.
    """

    def __init__(self, images: Iterable[ChosenImage]):
        self._folded: set[str] = set()
        keys: dict[str, set[str]] = {}
        found: dict[str, set[str]] = {}
        for one in images:
            for _, box in one.boxes:
                self._fold(box.figures, _TOP, keys)
                for name, value in self._flat(box.figures, _TOP):
                    found.setdefault(name, set()).add(_KINDS[type(value)])
        parts = tuple(f"{name}." for name in self._folded)
        kept = {name: kinds for name, kinds in found.items() if not name.startswith(parts)}
        self.kinds = {name: _common(kinds) for name, kinds in sorted({**kept, **self._texts(found)}.items())}

    def of(self, figures: Mapping[str, Any]) -> dict[str, Value]:
        """The figures of one of the boxes, by the names of their columns, in the order in which it has them."""
        return {name: _in_column(value, self.kinds[name]) for name, value in self._flat(figures, _TOP)}

    def _texts(self, found: Mapping[str, set[str]]) -> dict[str, set[str]]:
        """The columns of what is folded and was flat in the boxes before."""
        flat = {part for part in self._folded if any(name.startswith(f"{part}.") for name in found)}
        outer = {part for part in flat if not any(part.startswith(f"{other}.") for other in self._folded)}
        return dict.fromkeys(outer, {TEXT})

    def _fold(self, figures: Mapping[str, Any], above: str, keys: dict[str, set[str]]) -> None:
        for name, value in figures.items():
            called = f"{above}.{name}"
            if isinstance(value, Mapping) and called not in self._folded:
                seen = keys.setdefault(called, set())
                seen.update(value)
                if len(seen) > _MOST or not all(_WORD.fullmatch(key) for key in value):
                    self._folded.add(called)
                    del keys[called]
                else:
                    self._fold(value, called, keys)

    def _flat(self, figures: Mapping[str, Any], above: str) -> Iterator[tuple[str, Value]]:
        for name, value in figures.items():
            called = f"{above}.{name}"
            if isinstance(value, Mapping) and called not in self._folded:
                yield from self._flat(value, called)
            elif isinstance(value, list | tuple | Mapping):
                yield called, json.dumps(value)
            elif value is not None and not (isinstance(value, float) and not math.isfinite(value)):
                yield called, value


def _common(kinds: set[str]) -> str:
    if len(kinds) == 1:
        return next(iter(kinds))
    return FLOAT if kinds == {INT, FLOAT} else TEXT


def _in_column(value: Value, kind: str) -> Value:
    if kind == FLOAT:
        return float(value)
    return value if kind != TEXT or isinstance(value, str) else json.dumps(value)
