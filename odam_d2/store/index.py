"""Joins the rows of all parts in one file that pages search; maps stay where they are."""

import contextlib
import json
import os
import sqlite3
import uuid
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ..utils.files import OutputError, checksum
from .parts import FILES, FOLDER, INDEX, SETTINGS, disk_errors, open_to_read, part_paths, state_of
from .schema import APPLICATION_ID, FORMAT_VERSION, IMAGE_COLUMNS, INDEX_STATEMENTS, TABLES, table_statement

# Where the rest of an image is: its part and its number there.
_WHERE = ", part TEXT NOT NULL, number_there INTEGER NOT NULL"
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
    order = keys_in_order(folder)
    if kept.is_file():
        with contextlib.suppress(ValueError):
            connection = open_to_read(kept)
            found = connection.execute("SELECT * FROM parts ORDER BY name").fetchall()
            if found == sorted([*(state_of(path) for path in parts), _state_of(order)]):
                return connection
            connection.close()
    try:
        write_index(kept, parts, order)
    except OutputError:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        _fill(connection, parts, order)
        return connection
    return open_to_read(kept)


def keys_in_order(folder: Path) -> list[str]:
    """Keys of a run's images as :class:`~odam_d2.store.run_folder.RunFolder` was told them; empty where it wasn't."""
    try:
        return list(json.loads((folder / FOLDER / SETTINGS).read_text(encoding="utf-8"))[FILES])
    except (OSError, ValueError, KeyError):
        return []


def _state_of(order: Sequence[str]) -> tuple[str, int, int]:
    """What changes with the images of a run, as :func:`state_of` says it of a part."""
    return "", len(order), int(checksum(json.dumps(order))[:12], 16)


def write_index(path: Path, parts: Sequence[Path], order: Sequence[str] = ()) -> None:
    """Writes the index of some parts, whole or not at all.

    An image that several parts have is taken from the first, or the first in which it didn't fail.

    Args:
        path: the file.
        parts: all parts of the run.
        order: keys of the run's images; others are left out. Where it is empty, all images have the places that they
            were written with.

    Raises:
        OutputError: if it can't be written.
        DamagedPartError: if a part can't be read.
    """
    # Two readers may do it at once.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with disk_errors(path), contextlib.closing(sqlite3.connect(temporary, isolation_level=None)) as index:
            _fill(index, parts, order)
        try:
            os.replace(temporary, path)
        except OSError as error:
            raise OutputError(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _fill(index: sqlite3.Connection, parts: Sequence[Path], order: Sequence[str]) -> None:
    index.execute("PRAGMA journal_mode = OFF")
    index.execute("PRAGMA synchronous = OFF")
    index.execute(_STATE)
    index.execute("BEGIN")
    for table in TABLES:
        index.execute(table_statement(table, _WHERE if table == "images" else ""))
    # Their states first: what is written meanwhile makes the index old.
    index.executemany("INSERT INTO parts VALUES (?, ?, ?)", [*(state_of(part) for part in parts), _state_of(order)])
    places = {key: place for place, key in enumerate(order)}
    chosen: dict[str, tuple[bool, Path]] = {}
    for part in parts:
        for key, failed in _keys(part):
            if (key in places or not places) and (key not in chosen or (chosen[key][0] and not failed)):
                chosen[key] = (failed, part)
    for part in parts:
        _add(index, part, {key for key, (_, where) in chosen.items() if where == part}, places)
    for statement in INDEX_STATEMENTS:
        index.execute(statement)
    index.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    index.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
    index.execute("COMMIT")


def _keys(part: Path) -> list[tuple[str, bool]]:
    with contextlib.closing(open_to_read(part)) as source, disk_errors(part):
        return source.execute("SELECT key, failure IS NOT NULL FROM images ORDER BY number").fetchall()


def _add(index: sqlite3.Connection, part: Path, chosen: Collection[str], places: Mapping[str, int]) -> None:
    """Adds the rows of some images of a part."""
    with contextlib.closing(open_to_read(part)) as source, disk_errors(part):
        numbers: dict[int, int] = {}
        for number, key, *rest in source.execute(f"SELECT {', '.join(IMAGE_COLUMNS)} FROM images"):
            if key in chosen:
                numbers[number] = places[key] if places else json.loads(rest[-1])["about"]["number"]
                values = (numbers[number], key, *rest, part.name, number)
                index.execute(f"INSERT INTO images VALUES ({', '.join('?' * len(values))})", values)
        for table in ("annotations", "detections"):
            statement = f"INSERT INTO {table} VALUES ({', '.join('?' * len(TABLES[table]))})"
            rows = source.execute(f"SELECT {', '.join(TABLES[table])} FROM {table}")
            index.executemany(statement, ((numbers[row[0]], *row[1:]) for row in rows if row[0] in numbers))


def facts_of_run(folder: str | os.PathLike) -> dict:
    """What :meth:`~odam_d2.store.writer.RunWriter.put_run` kept in any part.

    The first part that knows something is believed.
    """
    found: dict = {}
    for part in part_paths(folder):
        with contextlib.closing(open_to_read(part)) as source, disk_errors(part):
            for key, value in source.execute("SELECT key, value FROM run"):
                found.setdefault(key, json.loads(value))
    return found
