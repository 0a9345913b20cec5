"""Joins the rows of all parts in one file that pages search; maps stay where they are."""

import contextlib
import json
import os
import sqlite3
import uuid
from collections.abc import Sequence
from pathlib import Path

from ..utils.files import OutputError
from .parts import FOLDER, INDEX, disk_errors, open_to_read, part_paths, state_of
from .schema import APPLICATION_ID, FORMAT_VERSION, INDEX_STATEMENTS, TABLES, table_statement

_STATE = "CREATE TABLE parts (name TEXT PRIMARY KEY, bytes INTEGER, changes INTEGER) WITHOUT ROWID"


def open_index(folder: str | os.PathLike) -> sqlite3.Connection:
    """Opens the index of a run for reading; makes it first where it is missing, or older than a part.

    It is kept in the run's folder; where that can't be written to, in memory.

    Raises:
        ValueError: if the folder holds no run.
        DamagedPartError: if a part can't be read.
    """
    folder = Path(folder)
    parts = part_paths(folder)
    if not parts:
        raise ValueError(f"`folder` must hold a run; got {str(folder)!r}, which has no {FOLDER}/part-*.sqlite: name "
                         "the --output of odam explain, evaluate or analyze")  # fmt: skip
    kept = folder / FOLDER / INDEX
    state = [state_of(path) for path in parts]
    if kept.is_file():
        with contextlib.suppress(ValueError):
            connection = open_to_read(kept)
            if connection.execute("SELECT * FROM parts ORDER BY name").fetchall() == sorted(state):
                return connection
            connection.close()
    try:
        write_index(kept, parts)
    except OutputError:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        _fill(connection, parts)
        return connection
    return open_to_read(kept)


def write_index(path: Path, parts: Sequence[Path]) -> None:
    """Writes the index of some parts, whole or not at all. An image that several parts have is taken from the first.

    Raises:
        OutputError: if it can't be written.
        DamagedPartError: if a part can't be read.
    """
    # Two readers may do it at once.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with disk_errors(path), contextlib.closing(sqlite3.connect(temporary, isolation_level=None)) as index:
            _fill(index, parts)
        try:
            os.replace(temporary, path)
        except OSError as error:
            raise OutputError(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _fill(index: sqlite3.Connection, parts: Sequence[Path]) -> None:
    index.execute("PRAGMA journal_mode = OFF")
    index.execute("PRAGMA synchronous = OFF")
    index.execute(_STATE)
    index.execute("BEGIN")
    for table in TABLES:
        index.execute(table_statement(table, ", part TEXT NOT NULL" if table == "images" else ""))
    for part in parts:
        # Its state first: what is written meanwhile makes the index old.
        index.execute("INSERT INTO parts VALUES (?, ?, ?)", state_of(part))
        _add(index, part)
    for statement in INDEX_STATEMENTS:
        index.execute(statement)
    index.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    index.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
    index.execute("COMMIT")


def _add(index: sqlite3.Connection, part: Path) -> None:
    """Adds the rows of a part, of images that aren't there yet."""
    with contextlib.closing(open_to_read(part)) as source, disk_errors(part):
        source.execute("BEGIN")  # one state of the file for all tables
        known = {number for (number,) in index.execute("SELECT number FROM images")}
        new = {number for (number,) in source.execute("SELECT number FROM images") if number not in known}
        for table, columns in TABLES.items():
            marks = ", ".join("?" * (len(columns) + (table == "images")))
            rows = source.execute(f"SELECT {', '.join(columns)} FROM {table}")
            more = (part.name,) if table == "images" else ()
            index.executemany(f"INSERT INTO {table} VALUES ({marks})", ((*row, *more) for row in rows if row[0] in new))


def facts_of_run(folder: str | os.PathLike) -> dict:
    """What :meth:`RunWriter.put_run` kept in any part; the first part that knows something is believed."""
    found: dict = {}
    for part in part_paths(folder):
        with contextlib.closing(open_to_read(part)) as source, disk_errors(part):
            for key, value in source.execute("SELECT key, value FROM run"):
                found.setdefault(key, json.loads(value))
    return found
