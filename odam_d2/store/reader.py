"""Reads a run, a page at a time."""

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..structures import HeatMaps
from .columns import FIGURES, WORDS, BoxColumns
from .filters import DETECTION_SELECT, IMAGE_SELECT, SORTED_BY, Filter, order_clause
from .index import facts_of_run, open_index
from .packing import unpack
from .parts import FOLDER, disk_errors, open_to_read
from .records import AnnotationRow, DetectionRow, ImageRow, StoredImage
from .schema import ANNOTATION_COLUMNS

_ALL = Filter()


class RunReader:
    """What a run says, in the order of its images, whoever wrote it; it reads what is asked for, never the whole run.

    It shows the run as it was when the reader was made; it may be used by several threads.

    Args:
        folder: ``--output`` of the command that made the run.

    Attributes:
        run: facts about the run.
        class_names: of the detector, by class number, as far as the run knows them.

    Raises:
        ValueError: if the folder holds no run, or one that can't be read.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self._index = open_index(folder)
        self._parts: dict[str, sqlite3.Connection] = {}
        self._lock = threading.RLock()
        self.run: dict[str, Any] = facts_of_run(folder)
        self.class_names: tuple[str, ...] = tuple(self.run.get("class_names") or ())

    def __enter__(self) -> "RunReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files."""
        with self._lock:
            for connection in (self._index, *self._parts.values()):
                connection.close()
            self._parts = {}

    def __len__(self) -> int:
        return self._ask("SELECT count(*) FROM images")[0][0]

    def images(self, offset: int = 0, limit: int = -1) -> list[ImageRow]:
        """Images in the order of the run, from the one at `offset` on; all where `limit` is negative."""
        rows = self._ask(f"SELECT {IMAGE_SELECT} FROM images ORDER BY number LIMIT ? OFFSET ?", limit, offset)
        return [_image(row)[0] for row in rows]

    def count(self, chosen: Filter = _ALL) -> int:
        """How many explained boxes a filter leaves."""
        where, values = chosen.where()
        return self._ask(f"SELECT count(*) FROM detections {where}", *values)[0][0]

    def counts(self, column: str, chosen: Filter = _ALL) -> dict[str | None, int]:
        """How many explained boxes a filter leaves, by their "kind", "label", "verdict" or "mechanism"."""
        if column not in WORDS:
            raise ValueError(f"`column` must be kind, label, verdict or mechanism; got {column!r}: choose one of these")
        where, values = chosen.where()
        rows = self._ask(f"SELECT {column}, count(*) FROM detections {where} GROUP BY {column} ORDER BY 1", *values)
        return dict(rows)

    def columns(self) -> BoxColumns:
        """All boxes as columns in memory, see :class:`BoxColumns`; a million take some seconds to read."""
        facts = (*WORDS, "annotation IS NOT NULL", *(SORTED_BY[name] for name in FIGURES))
        images = self._ask("SELECT number, name, failure IS NOT NULL FROM images ORDER BY number")
        with self._lock, disk_errors(self.folder / FOLDER):
            rows = self._index.execute(f"SELECT image, row, {', '.join(facts)} FROM detections ORDER BY image, row")
            return BoxColumns(rows, images)

    def figures(self, size: int = 10_000) -> Iterator[list[tuple[str | None, str]]]:
        """Verdict and figures, as JSON, of all boxes in the order of the run, `size` of them at a time.

        Others may read between one part and the next.
        """
        statement = (
            "SELECT image, row, verdict, figures FROM detections WHERE (image, row) > (?, ?) "
            "ORDER BY image, row LIMIT ?"
        )
        last = (-1, -1)
        while rows := self._ask(statement, *last, size):
            last = rows[-1][:2]
            yield [(verdict, figures) for _, _, verdict, figures in rows]

    def failures(self, limit: int = -1) -> list[tuple[str, str]]:
        """Name and failure of the images that failed; all that there are where `limit` is negative."""
        statement = "SELECT name, failure FROM images WHERE failure IS NOT NULL ORDER BY number LIMIT ?"
        return self._ask(statement, limit)

    def attributes(self) -> dict[tuple[str, str], list[str]]:
        """Method and role -> the attributes of their maps in any image, in the order in which they are met."""
        # SQLite looks into a million images in a second; most say the same.
        statement = (
            "SELECT json_extract(facts, '$.about.attributes') AS told, min(number) FROM images "
            "WHERE failure IS NULL GROUP BY told ORDER BY 2"
        )
        found: dict[tuple[str, str], list[str]] = {}
        for told, _ in self._ask(statement):
            for which, names in json.loads(told or "{}").items():
                method, _, role = which.partition("/")
                known = found.setdefault((method, role), [])
                known += [name for name in names if name not in known]
        return found

    def rows_at(self, places: Sequence[tuple[int, int]]) -> list[DetectionRow]:
        """The boxes at some places, image and row of each, in the order of the places."""
        statement = f"SELECT {DETECTION_SELECT} FROM detections WHERE image = ? AND row = ?"
        return [_detection(self._ask(statement, *place)[0]) for place in places]

    def image_row(self, number: int) -> ImageRow | None:
        """The image of a number; None if the run has no such image."""
        rows = self._ask(f"SELECT {IMAGE_SELECT} FROM images WHERE number = ?", number)
        return _image(rows[0])[0] if rows else None

    def has_annotations(self) -> bool:
        """Whether it is known of an image which annotated objects it has, be it none."""
        return bool(self._ask("SELECT 1 FROM images WHERE json_extract(facts, '$.about.annotations') LIMIT 1"))

    def methods(self) -> list[str]:
        """The methods of all maps, in the order in which they are met."""
        return list(dict.fromkeys(method for method, _ in self.attributes()))

    def detections(
        self,
        chosen: Filter = _ALL,
        order_by: str = "place",
        descending: bool = False,
        offset: int = 0,
        limit: int = -1,
    ) -> list[tuple[int, int, DetectionRow]]:
        """Explained boxes.

        Args:
            chosen: which.
            order_by: one of :data:`odam_d2.store.filters.ORDERS`.
            descending: the greatest first.
            offset: how many to leave out at the beginning.
            limit: the most to return; all that there are where it is negative.

        Returns:
            (number of the image, row, the box) of each.
        """
        where, values = chosen.where()
        order = order_clause(order_by, descending)
        statement = f"SELECT {DETECTION_SELECT} FROM detections {where} {order} LIMIT ? OFFSET ?"
        return [(row[0], row[1], _detection(row)) for row in self._ask(statement, *values, limit, offset)]

    def find(self, key: str) -> ImageRow | None:
        """The image of a key; None if the run has no such image."""
        rows = self._ask(f"SELECT {IMAGE_SELECT} FROM images WHERE key = ?", key)
        return _image(rows[0])[0] if rows else None

    def image(self, number: int, maps: bool = True) -> StoredImage:
        """All rows of an image, and its maps unless they aren't wanted.

        Raises:
            IndexError: if the run has no image of that number.
            DamagedPartError: if the maps can't be read.
        """
        rows = self._ask(f"SELECT {IMAGE_SELECT}, part, number_there FROM images WHERE number = ?", number)
        if not rows:
            raise IndexError(f"`number` must be that of an image of the run; got {number}: see RunReader.images")
        image, about = _image(rows[0])
        selected = f"SELECT {', '.join(ANNOTATION_COLUMNS)} FROM annotations WHERE image = ? ORDER BY row"
        annotations = [_annotation(row) for row in self._ask(selected, number)]
        found = self.detections(Filter(image=[number]))
        heat = self._maps(image, about, *rows[0][-2:]) if maps else {}
        return StoredImage(image, annotations if about["annotations"] else None, [row for _, _, row in found], heat)

    def heatmaps(self, number: int, method: str, role: str = "") -> tuple[list[int], HeatMaps] | None:
        """Maps of an image by one method: the rows of its explained boxes that have some, and as many HeatMaps.

        Args:
            number: of the image.
            method: as in :attr:`StoredImage.maps`, likewise `role`.
            role: what the maps show.
        """
        rows, heatmaps = self.image(number).maps.get((method, role), ((), None))
        return None if heatmaps is None else (list(rows), heatmaps)

    def documents(self, collection: str) -> Iterator[tuple[str, Any]]:
        """Name and content of each document of a collection, in no order."""
        seen: set[str] = set()
        for name in self._part_names():
            with disk_errors(self.folder / FOLDER / name):
                found = self._part(name).execute("SELECT name, body FROM documents WHERE collection = ?", (collection,))
                for title, body in found:
                    if title not in seen:
                        seen.add(title)
                        yield title, json.loads(body)

    def document(self, collection: str, name: str) -> Any:
        """The content of a document; None if there is none of that name."""
        with self._lock:
            for part in self._part_names():
                with disk_errors(self.folder / FOLDER / part):
                    found = self._part(part).execute(
                        "SELECT body FROM documents WHERE collection = ? AND name = ?", (collection, name)
                    ).fetchone()  # fmt: skip
                if found:
                    return json.loads(found[0])
        return None

    def _ask(self, statement: str, *values: Any) -> list[tuple]:
        with self._lock, disk_errors(self.folder / FOLDER):
            return self._index.execute(statement, values).fetchall()

    def _part_names(self) -> list[str]:
        return [name for (name,) in self._ask("SELECT name FROM parts WHERE name <> '' ORDER BY length(name), name")]

    def _part(self, name: str) -> sqlite3.Connection:
        with self._lock:
            if name not in self._parts:
                self._parts[name] = open_to_read(self.folder / FOLDER / name)
            return self._parts[name]

    def _maps(self, image: ImageRow, about: dict[str, Any], part: str, number: int) -> dict:
        if image.size is None or image.input_size is None:
            return {}
        statement = "SELECT method, role, row, packed FROM maps WHERE image = ? ORDER BY method, role, row"
        with self._lock, disk_errors(self.folder / FOLDER / part):
            found = self._part(part).execute(statement, (number,)).fetchall()
        rows: dict[tuple[str, str], list[int]] = {}
        packed: dict[tuple[str, str], list[bytes]] = {}
        for method, role, row, data in found:
            rows.setdefault((method, role), []).append(row)
            packed.setdefault((method, role), []).append(data)
        return {
            which: (rows[which], unpack(packed[which], about["attributes"]["/".join(which)], image.input_size,
                                        image.size, self.class_names))
            for which in rows
        }  # fmt: skip


def _image(row: Sequence) -> tuple[ImageRow, dict[str, Any]]:
    number, key, name, path, width, height, in_width, in_height, failure, facts = row[:10]
    size = None if height is None else (height, width)
    input_size = None if in_height is None else (in_height, in_width)
    kept = json.loads(facts)
    return ImageRow(number, key, name, path, size, input_size, failure, kept["facts"]), kept["about"]


def _annotation(row: Sequence) -> AnnotationRow:
    _, _, number, class_id, label, x1, y1, x2, y2, crowd, occlusion = row
    known = None if number is None else json.loads(number)
    return AnnotationRow((x1, y1, x2, y2), class_id, label, bool(crowd), known, occlusion)


def _detection(row: Sequence) -> DetectionRow:
    _, _, kind, class_id, label, score, x1, y1, x2, y2, *told, figures = row
    annotation, iou, occlusion, verdict, mechanism, outside, sentence = told
    return DetectionRow((x1, y1, x2, y2), class_id, label, score, kind, annotation, iou, occlusion, verdict, mechanism,
                        outside, sentence, json.loads(figures))  # fmt: skip
