"""Writes a part of a run."""

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .packing import pack
from .parts import disk_errors, open_to_write, part_path
from .records import AnnotationRow, DetectionRow, ImageRow, StoredImage
from .schema import TABLES


class RunWriter:
    """The part of one process: an image is one transaction, all of it or nothing.

    It may be used by several threads.

    Args:
        folder: of the run.
        rank: number of the process among all that write.

    Raises:
        OutputError: if the folder takes no files.
        DamagedPartError: if the part is there and can't be read.
    """

    def __init__(self, folder: str | os.PathLike, rank: int = 0):
        self.path = part_path(folder, rank)
        self._connection = open_to_write(self.path)
        self._lock = threading.RLock()

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; writing afterwards is an error."""
        with self._lock:
            self._connection.close()

    def write(self, stored: StoredImage, documents: Mapping[tuple[str, str], Any] | None = None) -> None:
        """Writes an image with all that belongs to it, in place of what was there of it.

        Args:
            stored: the rows.
            documents: see :meth:`put`; (collection, name) -> content.

        Raises:
            OutputError: if it can't be written; nothing of it is then.
        """
        packed = [
            (row, method, role, pack(maps[place]))
            for (method, role), (rows, maps) in stored.maps.items()
            for place, row in enumerate(rows)
        ]
        about = {
            "attributes": {"/".join(which): list(maps.attributes) for which, (_, maps) in stored.maps.items()},
            "annotations": stored.annotations is not None,
            "number": stored.image.number,
        }
        with self._transaction() as connection:
            found = connection.execute("SELECT number FROM images WHERE key = ?", (_text(stored.image.key),)).fetchone()
            if found:
                connection.execute("DELETE FROM images WHERE number = ?", found)
                for table in ("annotations", "detections", "maps"):
                    connection.execute(f"DELETE FROM {table} WHERE image = ?", found)
            # None: SQLite takes the next that is free.
            values = image_values(stored.image, about)
            number = _insert(connection, "images", [(found and found[0], *values)])
            rows = [annotation_values(one) for one in stored.annotations or ()]
            _insert(connection, "annotations", [(number, row, *one) for row, one in enumerate(rows)])
            rows = [detection_values(one) for one in stored.detections]
            _insert(connection, "detections", [(number, row, *one) for row, one in enumerate(rows)])
            connection.executemany("INSERT INTO maps VALUES (?, ?, ?, ?, ?)", [(number, *one) for one in packed])
            self._put_all(documents or {})

    def put(self, collection: str, name: str, content: Any) -> None:
        """Keeps a document, to the last digit, in place of one of that name.

        Args:
            collection: what kind of document it is.
            name: of the document in its collection.
            content: what JSON can hold.
        """
        with self._transaction():
            self._put_all({(collection, name): content})

    def clear(self, collection: str) -> None:
        """Removes the documents of a collection."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM documents WHERE collection = ?", (collection,))

    def put_run(self, values: Mapping[str, Any]) -> None:
        """Keeps facts about the run, as JSON can hold them."""
        with self._transaction() as connection:
            rows = [(key, json.dumps(value)) for key, value in values.items()]
            connection.executemany("INSERT OR REPLACE INTO run VALUES (?, ?)", rows)

    def _put_all(self, documents: Mapping[tuple[str, str], Any]) -> None:
        rows = [(collection, name, json.dumps(content)) for (collection, name), content in documents.items()]
        self._connection.executemany("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", rows)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, disk_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # A full disk may have ended the transaction already.
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise


def _insert(connection: sqlite3.Connection, table: str, rows: list[tuple]) -> int | None:
    """Inserts rows; of a single one the number that it got, where its table has one."""
    statement = f"INSERT INTO {table} VALUES ({', '.join('?' * len(TABLES[table]))})"
    if len(rows) == 1:
        return connection.execute(statement, rows[0]).lastrowid
    connection.executemany(statement, rows)
    return None


def image_values(one: ImageRow, about: Mapping[str, Any]) -> tuple:
    """The values of an image's columns behind its number; `about` is kept with its facts, apart."""
    (h, w), (in_h, in_w) = one.size or (None, None), one.input_size or (None, None)
    facts = json.dumps({"facts": dict(one.facts), "about": dict(about)})
    # A file's name may hold bytes that are no text.
    texts = (_text(one.key), _text(one.name), _text(one.path))
    return (*texts, w, h, in_w, in_h, one.failure and _text(one.failure), facts)


def annotation_values(one: AnnotationRow) -> tuple:
    """The values of an annotation's columns behind its image and row."""
    number = None if one.id is None else json.dumps(one.id)
    return (number, one.class_id, _text(one.label), *map(float, one.box), int(one.crowd), one.occlusion)


def detection_values(one: DetectionRow) -> tuple:
    """The values of a detection's columns behind its image and row."""
    judged = (one.annotation, one.iou, one.occlusion, one.verdict, one.mechanism, one.outside)
    said = (one.sentence and _text(one.sentence), json.dumps(dict(one.figures)))
    return (one.kind, one.class_id, _text(one.label), one.score, *map(float, one.box), *judged, *said)


def _text(text: str) -> str:
    """Text that SQLite takes: halves of surrogate pairs, bytes of a file's name that are no text, are escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
