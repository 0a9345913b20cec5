"""Folders that appear under their name only once they are complete."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .files import OutputError, disk_error


@contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """A folder to fill, which takes `path`'s place at the end; what was at `path` is removed then.

    It is filled beside, as ``.NAME.unfinished``. If the body raises, that is removed and `path` stays as it was; if the
    process is killed, the next one that writes the same folder removes it.

    Args:
        path: the folder to write.

    Yields:
        The folder to fill, empty.

    Raises:
        OutputError: if it can't be written: the disk is full, or the folder above takes no files.
    """
    path = Path(path)
    path = path.parent.resolve() / path.name
    unfinished, old = (path.with_name(f".{path.name}.{what}") for what in ("unfinished", "old"))
    try:
        if old.exists() and not path.exists():
            old.rename(path)
        for left in (unfinished, old):
            if left.exists():
                shutil.rmtree(left)
        unfinished.mkdir(parents=True)
    except OSError as error:
        raise OutputError(path, error) from error
    try:
        yield unfinished
        try:
            if path.exists():
                path.rename(old)
            unfinished.rename(path)
        except OSError as error:
            raise OutputError(path, error) from error
        shutil.rmtree(old, ignore_errors=True)
    except BaseException as error:
        with contextlib.suppress(OSError):
            shutil.rmtree(unfinished, ignore_errors=True)
        if old.exists() and not path.exists():
            old.rename(path)
        said = disk_error(error)
        if said is None or isinstance(error, OutputError) or not isinstance(error, Exception):
            raise
        raise OutputError(path, said) from error
