"""The report of a run, as a folder or as one file."""

from pathlib import Path

from ..store import RunReader
from ..visualize.report import PageWords, write_report_folder, write_single_file

FOLDER, SINGLE = "report", "report.html"  # in the folder of a run


def write_report(reader: RunReader, output: Path, words: PageWords, single_file: bool) -> Path:
    """Writes the report of a run and returns the path of its page.

    Args:
        reader: the run.
        output: its folder.
        words: of the page.
        single_file: whether to write one file; see :func:`write_single_file`.
    """
    if single_file:
        write_single_file(reader, output / SINGLE, words)
        return output / SINGLE
    (output / SINGLE).unlink(missing_ok=True)
    return write_report_folder(reader, output / FOLDER, words)


def report_page(output: Path) -> Path:
    """The page of a run's report, which needn't be there."""
    single = output / SINGLE
    return single if single.is_file() else output / FOLDER / "index.html"
