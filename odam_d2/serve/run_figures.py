"""The figures of a run's boxes, read while pages are shown already: a million boxes have a gigabyte of them as text."""

import json
import threading

from ..store import RunReader
from ..store.figure_columns import FigureColumns
from ..visualize.report.figures import flat_figures, numbers_of

FIGURE = "figure "  # stands before the name of one where boxes are sorted by it, as in the report's links


class RunFigures:
    """What boxes can be sorted by, as the report's page names it. It may be used by several threads.

    Args:
        reader: the run; it must stay open until :meth:`close`.
    """

    def __init__(self, reader: RunReader):
        self._reader, self._columns = reader, FigureColumns()
        self._error: Exception | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, name="figures", daemon=True)
        self._thread.start()

    def columns(self) -> FigureColumns:
        """All figures; waits until they are read.

        Raises:
            ValueError: if they can't be read.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._columns

    def close(self) -> None:
        """Ends the reading."""
        self._stopped.set()
        self._thread.join()

    def _read(self) -> None:
        box = 0
        try:
            for part in self._reader.figures():
                if self._stopped.is_set():
                    return
                for verdict, text in part:
                    if text != "{}":
                        self._columns.add(box, numbers_of(flat_figures(json.loads(text), verdict)))
                    box += 1
        except Exception as error:
            self._error = error
