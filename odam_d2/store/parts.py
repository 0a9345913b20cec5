"""The files of a run: one part for each process that writes, which nothing else writes to at the same time."""

import contextlib
import os
import re
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..utils.files import FULL, OutputError
from .schema import APPLICATION_ID, FORMAT_VERSION, PART_STATEMENTS

FOLDER = "store"  # of the parts, in the folder of a run
INDEX = "index.sqlite"
SETTINGS = "settings.json"
FILES = "files"  # in the settings: of each image, in the run's order
_PART = re.compile(r"part-(\d{5,})\.sqlite")
# Byte of SQLite's file header where it counts the transactions that changed the file.
_CHANGES = slice(24, 28)
# A writer waits this long, in seconds, for a reader to be done with the file.
_PATIENCE = 60.0


class DamagedPartError(ValueError):
    """A file of a run can't be read.

    Args:
        path: the file.
        reason: what is wrong with it.
    """

    def __init__(self, path: Path, reason: str):
        super().__init__(
            f"{str(path)!r} must be a whole file of a run; got one that can't be read ({reason}): run the command "
            "again with --resume, which does its images again"
        )
        self.path = path


def part_path(folder: str | os.PathLike, rank: int) -> Path:
    """The part of a process, by its number among all processes."""
    return Path(folder) / FOLDER / f"part-{rank:05d}.sqlite"


def part_paths(folder: str | os.PathLike) -> list[Path]:
    """All parts of a run, by their numbers."""
    found = [(int(name[1]), path) for path in (Path(folder) / FOLDER).glob("part-*.sqlite")
             if (name := _PART.fullmatch(path.name))]  # fmt: skip
    return [path for _, path in sorted(found)]


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Says in one sentence what SQLite found: a file that can't be written to, or one that can't be read.

    Raises:
        OutputError: if the disk is full, or the folder takes no files.
        DamagedPartError: if the file is no database, or not a whole one.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        name = getattr(error, "sqlite_errorname", "") or ""
        if name.startswith("SQLITE_FULL"):
            raise OutputError(path, OSError(FULL[0], os.strerror(FULL[0]))) from error
        if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_IOERR", "SQLITE_PERM", "SQLITE_BUSY")):
            raise OutputError(path, OSError(None, str(error))) from error
        raise DamagedPartError(path, str(error)) from error
    except sqlite3.DatabaseError as error:
        raise DamagedPartError(path, str(error)) from error


def open_to_write(path: Path) -> sqlite3.Connection:
    """Opens a part, or makes one.

    The connection commits by itself unless ``BEGIN`` was said, and may be used by any thread, one at a time.

    Raises:
        OutputError: see :func:`disk_errors`.
        DamagedPartError: see :func:`disk_errors`.
    """
    if not path.exists():
        _make(path)
    with disk_errors(path):
        return _checked(_connect(path), path)


def _make(path: Path) -> None:
    """Makes an empty part, whole at once: others may be reading the run."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with disk_errors(path), contextlib.closing(_connect(temporary)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            for statement in PART_STATEMENTS:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
            connection.execute("COMMIT")
        os.replace(temporary, path)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    # Not WAL, whose shared memory network file systems don't have.
    connection.execute("PRAGMA journal_mode = DELETE")
    return connection


def open_to_read(path: Path) -> sqlite3.Connection:
    """Opens a part, or the index, without ever changing it.

    Raises:
        DamagedPartError: if it can't be read.
    """
    if not path.is_file():
        raise DamagedPartError(path, "there is no such file")
    with disk_errors(path):
        if not _is_at_rest(path):
            # Its writer was killed: SQLite undoes what was begun, which a connection that only reads may not do.
            open_to_write(path).close()
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_PATIENCE, check_same_thread=False
        )
        return _checked(connection, path)


def _checked(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """The connection if its file is one of ours; it is closed otherwise."""
    try:
        _require_ours(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _is_at_rest(path: Path) -> bool:
    journal = path.with_name(f"{path.name}-journal")
    return not journal.is_file() or journal.stat().st_size == 0


def _require_ours(connection: sqlite3.Connection, path: Path) -> None:
    kind, version = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if kind != APPLICATION_ID:
        raise DamagedPartError(path, "it is no file of a run")
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{str(path)!r} must be in format {FORMAT_VERSION}; got format {version}: read it with the version of "
            "odam_d2 that wrote it, or run the command again"
        )


def require_whole(path: Path) -> None:
    """Reads all of a part.

    Raises:
        DamagedPartError: if something in it can't be read.
    """
    with contextlib.closing(open_to_read(path)) as connection, disk_errors(path):
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise DamagedPartError(path, str(found).replace("\n", " "))


def state_of(path: Path) -> tuple[str, int, int]:
    """What changes whenever something is written to a part: its name, bytes and number of changes."""
    try:
        with path.open("rb") as file:
            head = file.read(_CHANGES.stop)
        return path.name, path.stat().st_size, int.from_bytes(head[_CHANGES], "big")
    except OSError as error:
        raise DamagedPartError(path, error.strerror or str(error)) from error
