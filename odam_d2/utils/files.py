"""Writing files whole or not at all, under names that every file system takes."""

import contextlib
import errno
import hashlib
import json
import os
import re
import unicodedata
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

_NOT_IN_NAMES = '<>:"/\\|?*'
# Devices on Windows, whatever stands behind a dot.
_RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{device}{number}" for device in ("COM", "LPT") for number in range(1, 10))}


# A writer's file before it is complete; see `atomic_write`.
_UNFINISHED = re.compile(r"\..*\.[0-9a-f]{8}\.tmp", re.DOTALL)
# What the system says where there is no room left.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
# What a disk says to a writer; other errors of a body aren't about what is written.
_OF_DISKS = (*FULL, *_FORBIDDEN, errno.EIO, errno.ESTALE)


class OutputError(OSError):
    """A file can't be written: the disk is full, or the folder doesn't take it. The message is one sentence.

    Args:
        path: what was to be written.
        cause: what the system said.
    """

    def __init__(self, path: str | os.PathLike, cause: OSError):
        remedy = "choose another folder"
        if cause.errno in FULL:
            remedy = "free some space or choose another folder"
        elif cause.errno in _FORBIDDEN:
            remedy = "choose another folder or change its permissions"
        super().__init__(
            f"{os.fspath(path)!r} must be writable; got {cause.strerror or cause}: {remedy}, and run this again, "
            "with --resume where the command has it; what was finished is kept"
        )
        self.errno = cause.errno


def disk_error(error: BaseException | None) -> OSError | None:
    """What a disk said that can't be written to, if that is the cause of an error; else None."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _OF_DISKS:
            return error
        error = error.__cause__ or error.__context__
    return None


def require_writable(folder: str | os.PathLike) -> None:
    """Makes a folder, and raises OutputError if it takes no files."""
    with atomic_write(Path(folder) / ".writable") as file:
        file.write("a file of a few bytes\n")
    os.unlink(Path(folder) / ".writable")


def remove_unfinished(folder: str | os.PathLike[str]) -> None:
    """Removes what :func:`atomic_write` left in a folder when its process was killed; not in the folders below."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for entry in os.scandir(os.fspath(folder)):
            if _UNFINISHED.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                os.unlink(entry.path)


def safe_name(text: str, most: int = 100) -> str:
    """Any text as a single part of a path: a file or folder in the folder that it is put in, on every file system.

    Never empty, hidden or a way up; without separators, control characters and what Windows refuses. A good name stays
    as it is; two texts may become one name, see :func:`distinct_names`.

    Args:
        text: for example the stem of somebody's file, a class, an id.
        most: bytes in UTF-8; a longer name is cut, and ends with a checksum of `text`.
    """
    name = "".join("_" if _is_refused(letter) else letter for letter in unicodedata.normalize("NFC", text))
    # Windows drops dots and spaces at the end.
    name = name.strip().rstrip(". ")
    if name.startswith("."):
        name = name.lstrip(". ")
        name = f"_{name}"
    if not name or name.partition(".")[0].strip().upper() in _RESERVED:
        name = f"_{name}"
    if len(name.encode()) > most:
        kept = name.encode()[: most - 9].decode(errors="ignore").rstrip(". ")
        name = f"{kept}-{checksum(text)[:8]}"
    return name


def distinct_names(texts: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """A :func:`safe_name` for each text, numbered where several would share it: ``cat``, ``cat-2``.

    Args:
        texts: any.
        taken: names that are used already.
    """
    # Some file systems don't tell cases, or two ways to write an accent, apart.
    used = {unicodedata.normalize("NFC", name).casefold() for name in taken}
    latest: dict[str, int] = {}
    names = []
    for text in texts:
        name = stem = safe_name(text)
        number = latest.get(stem.casefold(), 1)
        while name.casefold() in used:
            number += 1
            name = f"{stem}-{number}"
        latest[stem.casefold()] = number
        used.add(name.casefold())
        names.append(name)
    return names


def checksum(text: str) -> str:
    """SHA-256 of any text in hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def file_checksum(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes in hexadecimal digits."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            found.update(block)
    return found.hexdigest()


def _is_refused(letter: str) -> bool:
    # Control and format characters, halves of pairs (bytes of a name that are no UTF-8), line and paragraph separators.
    kind = unicodedata.category(letter)
    return letter in _NOT_IN_NAMES or kind[0] == "C" or kind in ("Zl", "Zp")


@contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "w") -> Iterator[IO]:
    """Opens a file for writing that appears under its name only once it is complete.

    What is written goes to a temporary file in the same folder, which takes `path`'s place at the end. If the body
    raises, the temporary file is removed and a file that was at `path` before stays untouched.

    Args:
        path: the file to write; its folder is created where missing.
        mode: "w" for text (UTF-8) or "wb" for bytes.

    Yields:
        The open temporary file.

    Raises:
        OutputError: if it can't be written: the disk is full, or the folder takes no files.
        ValueError: if `mode` is neither of the two.
    """
    if mode not in ("w", "wb"):
        raise ValueError(f'`mode` must be "w" or "wb", since a file is always written whole; got {mode!r}')
    path = Path(path)
    # Opened by hand: `tempfile` would give the file permissions for its owner alone, which it would then keep.
    # A name may be as long as it can be.
    temporary = path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Halves of surrogate pairs, by which names of files stand for bytes that are no text, are escaped.
        encoding, errors = (None, None) if "b" in mode else ("utf-8", "backslashreplace")
        handle = open(temporary, mode.replace("w", "x"), encoding=encoding, errors=errors)
    except OSError as error:
        raise OutputError(path, error) from error
    try:
        with handle:
            yield handle
        try:
            os.replace(temporary, path)
        except OSError as error:
            raise OutputError(path, error) from error
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        said = disk_error(error)
        if said is None or isinstance(error, OutputError) or not isinstance(error, Exception):
            raise
        raise OutputError(path, said) from error


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes `text` to `path` as UTF-8, whole or not at all."""
    with atomic_write(path) as handle:
        handle.write(text)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes `value` to `path` as indented JSON that ends with a newline, whole or not at all.

    Raises:
        TypeError: if `value` holds something that JSON doesn't know, a tensor for example.
    """
    write_text(path, json.dumps(value, indent=2) + "\n")
