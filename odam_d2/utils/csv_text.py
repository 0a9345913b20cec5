"""CSV as text that every reader splits into the same lines."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

_END = "\r\n"
# With one of these in front, spreadsheets take a text for a formula and compute it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_lines(rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    r"""Each row as text that ends with ``\n``; None is an empty cell."""
    written = io.StringIO(newline="")
    # What ends a line here is quoted where it stands in a text; readers take a bare carriage return for an end, too.
    writer = csv.writer(written, lineterminator=_END)
    for row in rows:
        written.seek(0)
        written.truncate()
        writer.writerow(row)
        yield written.getvalue().removesuffix(_END) + "\n"


def no_formula(text: str) -> str:
    """A text for a cell: one that a spreadsheet would compute gets an apostrophe in front, which makes it a text."""
    return f"'{text}" if text.startswith(_FORMULA) else text
