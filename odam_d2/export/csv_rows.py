"""A table for spreadsheets and data frames: a line for each explained box, a missed object too."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..store import AnnotationRow, DetectionRow, ImageRow
from ..utils.csv_text import csv_lines, no_formula
from ..utils.files import atomic_write
from .base import Exporter, Watch, Written, register_exporter
from .figures import flat

_OF_IMAGE = ("image", "image_id", "name", "path", "width", "height")
_OF_BOX = ("row", "kind", "class", "label", "score", "x1", "y1", "x2", "y2")
_OBJECT = ("annotation", "annotation_id", "annotation_label")
_JUDGED = ("iou", "occlusion", "verdict", "mechanism", "outside", "sentence")


@register_exporter("csv")
class CsvRows(Exporter):
    """A CSV file in UTF-8.

    Columns: of the image its number in the run, id in the annotations' file, name, path and size; of the box what
    :class:`~odam_d2.store.DetectionRow` has, x1 .. y2 in the original image's pixels, with id and label of the
    annotation; then all figures, ``figures.NAME``. Unknown values are empty. A text that a spreadsheet would take for
    a formula has an apostrophe in front.
    """

    def export(self, path: Path, watch: Watch) -> Written:
        written, figures = Written(), list(self.figures())
        with atomic_write(path) as file:
            names = (*_OF_IMAGE, *_OF_BOX, *_OBJECT, *_JUDGED, *figures)
            file.writelines(csv_lines([[no_formula(name) for name in names]]))
            for line in csv_lines(self._rows(written, figures, watch)):
                file.write(line)
        return written

    def _rows(self, written: Written, figures: list[str], watch: Watch) -> Iterator[list[Any]]:
        for one in self.images(watch):
            written.images += bool(one.boxes)
            judged = any(box.annotation is not None for _, box in one.boxes)
            stored = self.reader.image(one.image.number, maps=False) if judged else None
            annotations = (stored.annotations if stored else None) or []
            for row, box in one.boxes:
                written.boxes += 1
                annotation = None if box.annotation is None else annotations[box.annotation]
                known = flat(box.figures)
                values = [*_of_image(one.image), row, *_of_box(box, annotation), *map(known.get, figures)]
                yield list(map(_cell, values))


def _of_image(image: ImageRow) -> list[Any]:
    height, width = image.size or (None, None)
    return [image.number, image.facts.get("image_id"), image.name, image.path, width, height]


def _of_box(box: DetectionRow, annotation: AnnotationRow | None) -> list[Any]:
    about = [box.kind, box.class_id, box.label, box.score, *box.box]
    object_ = [None, None] if annotation is None else [annotation.id, annotation.label]
    return [*about, box.annotation, *object_, *(getattr(box, name) for name in _JUDGED)]


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return no_formula(value)
    return json.dumps(value) if isinstance(value, bool) else value
