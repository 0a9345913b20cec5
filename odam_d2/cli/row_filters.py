"""Options that choose explained boxes of a run, for all commands that read one."""

import argparse
import difflib
from collections.abc import Collection
from typing import Any

from ..data.categories import listed
from ..store import RunReader
from ..store.filters import Filter
from ..store.records import KINDS
from .arguments import finite

_RANGES = {
    "score": "score of the detection",
    "iou": "IoU with the annotated object",
    "occlusion": "share of the annotated object that others hide",
    "outside": "share of the score map outside the box",
    "area": "area of the box in pixels of the original image",
}


def add_row_filters(parser: argparse.ArgumentParser) -> None:
    """Adds the options that :func:`row_filter` reads."""
    group = parser.add_argument_group("which boxes", "boxes for which all of these hold (default: all)")
    add = group.add_argument
    add("--kind", nargs="+", choices=KINDS, metavar="KIND",
        help="detection, annotation (an annotated box that was explained), missed (an object not found)")  # fmt: skip
    add("--class", dest="classes", nargs="+", metavar="NAME", help="classes, by name")
    add("--verdict", nargs="+", metavar="NAME", help="correct, or types of errors, e.g. background duplicate")
    add("--mechanism", nargs="+", metavar="NAME", help="by which mechanism an object was missed")
    for name, what in _RANGES.items():
        add(f"--min-{name}", type=finite, metavar="X", help=f"least {what}")
        add(f"--max-{name}", type=finite, metavar="X", help=f"greatest {what}")


def row_filter(args: argparse.Namespace, reader: RunReader) -> Filter:
    """The filter that the options of :func:`add_row_filters` ask for.

    Raises:
        ValueError: if a class, verdict or mechanism is asked for that the run doesn't have, or bounds are out of order.
    """
    known = {*reader.class_names, *(one["name"] for one in reader.run.get("categories") or ())}
    _require_known("class", args.classes, {*known, *_found(reader, "label")})
    for name in ("verdict", "mechanism"):
        _require_known(name, getattr(args, name), _found(reader, name))
    ranges: dict[str, Any] = {}
    for name in _RANGES:
        low, high = getattr(args, f"min_{name}"), getattr(args, f"max_{name}")
        if low is not None and high is not None and low > high:
            raise ValueError(f"--min-{name} must be at most --max-{name}; got {low:g} and {high:g}: exchange them")
        if (low, high) != (None, None):
            ranges[name] = (low, high)
    return Filter(args.kind, args.classes, args.verdict, args.mechanism, **ranges)


def _found(reader: RunReader, column: str) -> set[str]:
    return {name for name in reader.counts(column) if name is not None}


def _require_known(option: str, asked: Collection[str] | None, known: Collection[str]) -> None:
    for name in asked or ():
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), 1)
            meant = f"did you mean {near[0]!r}" if near else "choose from these"
            raise ValueError(
                f"--{option} must be among what the run has, {listed(sorted(known))}; got {name!r}: {meant}"
            )
