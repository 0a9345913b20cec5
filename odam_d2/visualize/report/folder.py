"""The report of a run of any size: a folder whose page loads what it shows."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ...store import ImageRow, RunReader
from ...utils.files import OutputError, write_text
from ..pages import script_json
from .images import LARGE, SMALL, ReadImage, ReportImages, read_by_path
from .page import PageData, PageWords

PAGE = "index.html"
_PER_FOLDER = 1000  # script files of images


def write_report_folder(
    reader: RunReader,
    folder: str | os.PathLike,
    words: PageWords | None = None,
    *,
    read_image: ReadImage = read_by_path,
    quiet: bool = False,
) -> Path:
    """Writes the report of a run: ``index.html``, which opens from the disk, and what it loads.

    Data are small script files, since a page from the disk may load no others: in ``data-*/`` the index of all boxes
    (``rows-*.js``), the list of images (``images-*.js``) and a file for each image. The page is written last, and old
    data go after it, so that an interrupted run leaves the old report. Images are written once, see
    :class:`ReportImages`.

    Args:
        reader: the run.
        folder: of the report.
        words: title, facts about the run and so on.
        read_image: yields an image's pixels (h, w, 3) uint8 BGR; by default they are read from the image's file. A
            ValueError or OSError means that they can't be had: the page says so.
        quiet: whether to show no progress.

    Returns:
        The path of the page.

    Raises:
        OutputError: if the folder takes no files.
        ValueError: if the run can't be read.
    """
    folder, data, images = Path(folder), PageData(), ReportImages(folder)
    name = f"data-{uuid.uuid4().hex[:8]}"
    try:
        for image in tqdm(images_of(reader), desc="report", unit="image", disable=quiet, delay=1, total=len(reader)):
            stored = reader.image(image.number)
            file, gone = (None, None) if image.failure else images.find(image, read_image)
            address, thumb = (file and f"{kind[0]}/{file}" for kind in (LARGE, SMALL))
            record = data.add(stored, address, thumb, gone)
            number = image.number
            _write(folder / name / f"{number // _PER_FOLDER}" / f"{number}.js", f"image-{number}", record)
            for key, content in data.chunks():
                _write(folder / name / f"{key}.js", key, content)
        for key, content in data.chunks(last=True):
            _write(folder / name / f"{key}.js", key, content)
        write_text(folder / PAGE, data.render(words or PageWords(), folder=name))
    except BaseException:
        _remove(folder / name)
        raise
    for old in folder.glob("data-" + 8 * "[0-9a-f]"):
        if old.name != name:
            _remove(old)
    return folder / PAGE


def images_of(reader: RunReader) -> Iterator[ImageRow]:
    """The images of a run in its order, of which few are in memory."""
    start = 0
    while page := reader.images(start, _PER_FOLDER):
        yield from page
        start += len(page)


def _write(path: Path, key: str, content: Any) -> None:
    # Not aside and renamed: no page knows the folder yet.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"odamReport({script_json(key)},{script_json(content)})\n", encoding="ascii")
    except OSError as error:
        raise OutputError(path, error) from error


def _remove(folder: Path) -> None:
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)
