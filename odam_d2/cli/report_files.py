"""The report of a run, as a folder or as one file."""

from pathlib import Path

from ..store import RunReader
from ..visualize.report import MOST_IMAGES, PageWords, write_report_folder, write_single_file
from .arguments import WrongOptionError

FOLDER, SINGLE = "report", "report.html"  # in the folder of a run
# Images of a report, as patterns: a run that starts anew may have others under the same names.
DRAWN = (f"{FOLDER}/images/*/*.jpg", f"{FOLDER}/thumbs/*/*.jpg")


def require_few(images: int, single_file: bool, remedy: str) -> None:
    """Raises WrongOptionError where a single file is asked for, of more images than it may have.

    Args:
        images: how many.
        single_file: whether it is asked for.
        remedy: what else can be done, besides leaving it out.
    """
    if single_file and images > MOST_IMAGES:
        raise WrongOptionError(
            f"--single-file must be of at most {MOST_IMAGES} images; got {images}: leave it out, or {remedy}"
        )


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
