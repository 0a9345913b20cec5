"""The rows of ``metrics.json``, which Detectron2 appends to."""

import json
import os
import sys
from pathlib import Path


def drop_rows_from(path: str | os.PathLike, iteration: int) -> int:
    """Cuts off what a resumed training writes anew: the last rows, of iterations from a number on, or cut short.

    A training that was killed has run further than its last checkpoint. Writers that have the file open for appending
    go on behind the cut.

    Args:
        path: of ``metrics.json``; it may be missing.
        iteration: the first that will be run.

    Returns:
        How many rows are gone.
    """
    if not os.path.isfile(path):
        return 0
    rows = Path(path).read_bytes().splitlines(keepends=True)
    kept = len(rows)
    while kept and not _is_before(rows[kept - 1], iteration):
        kept -= 1
    if kept < len(rows):
        os.truncate(path, sum(map(len, rows[:kept])))
    return len(rows) - kept


def last_iteration(path: str | os.PathLike) -> int:
    """The highest iteration of the rows; -1 without any."""
    if not os.path.isfile(path):
        return -1
    rows = Path(path).read_text(encoding="utf-8").splitlines()
    return max(
        (json.loads(row)["iteration"] for row in rows if _is_before(f"{row}\n".encode(), sys.maxsize)), default=-1
    )


def _is_before(row: bytes, iteration: int) -> bool:
    try:
        return row.endswith(b"\n") and json.loads(row)["iteration"] < iteration
    except (ValueError, KeyError, TypeError):
        return False
