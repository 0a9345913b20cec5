"""COCO's list of results, which pycocotools and what builds on it reads, with what is known of each detection."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..store import DetectionRow, ImageRow
from ..utils.files import atomic_write
from .base import Exporter, Watch, Written, register_exporter
from .errors import error_of


class CategoryIds:
    """Ids of categories for classes of a detector.

    Args:
        categories: ``id`` and ``name`` of those of the annotations' file. A class has the id of the category of its
            name; one that has no category gets an id above all others. Without any categories, ids are the numbers of
            classes plus one, as :func:`odam_d2.data.coco_writer.coco_content` gives them.

    Attributes:
        without: names of classes that no category was found for so far.
    """

    def __init__(self, categories: Iterable[Mapping[str, Any]] = ()):
        self._ids = {one["name"]: one["id"] for one in categories}
        self._above = 1 + max((id_ for id_ in self._ids.values() if isinstance(id_, int)), default=0)
        self._known = bool(self._ids)
        self.without: set[str] = set()

    def of(self, class_id: int, label: str) -> int | str:
        """The id for a class."""
        if label in self._ids:
            return self._ids[label]
        self.without.add(label)
        return class_id + (self._above if self._known else 1)


@register_exporter("coco")
class CocoResults(Exporter):
    """A JSON list of ``image_id``, ``category_id``, ``bbox`` (x, y, width, height in the original image's pixels) and
    ``score`` of each detection, with the further keys ``verdict``, ``error`` (the verdict if it is one), ``mechanism``
    and ``outside``, and ``file_name`` where the run doesn't know the id of the image.

    Boxes without a score can't be in it. The ids are those of the annotations' file as far as the run knows them: an
    image's fact ``image_id``, else its number in the run; for ids of categories see :class:`CategoryIds`, which gets
    the run's fact ``categories``.
    """

    usual = possible = ("detection",)

    def export(self, path: Path, watch: Watch) -> Written:
        written, ids = Written(), CategoryIds(self.reader.run.get("categories") or ())
        self._numbered = self._scoreless = 0
        with atomic_write(path) as file:
            file.write("[")
            for number, entry in enumerate(self._entries(written, ids, watch)):
                file.write((",\n" if number else "\n") + json.dumps(entry, allow_nan=False))
            file.write("\n]\n")
        if self._numbered:
            written.notes.append(f"Images without a known id have their number in the run: {self._numbered}.")
        if self._scoreless:
            written.notes.append(f"Detections without a score are left out: {self._scoreless}.")
        if ids.without:
            told = ", ".join(repr(name) for name in sorted(ids.without))
            written.notes.append(f"Classes without a known category have ids of our own: {told}.")
        return written

    def _entries(self, written: Written, ids: CategoryIds, watch: Watch) -> Iterator[dict[str, Any]]:
        for one in self.images(watch):
            scored = [box for _, box in one.boxes if box.score is not None]
            self._scoreless += len(one.boxes) - len(scored)
            self._numbered += bool(scored) and one.image.facts.get("image_id") is None
            written.images += bool(scored)
            written.boxes += len(scored)
            for box in scored:
                yield _entry(one.image, box, ids)


def _entry(image: ImageRow, box: DetectionRow, ids: CategoryIds) -> dict[str, Any]:
    x1, y1, x2, y2 = box.box
    image_id = image.facts.get("image_id")
    named = {"file_name": image.path} if image_id is None else {}
    outside = box.outside if box.outside is not None and math.isfinite(box.outside) else None
    return {
        "image_id": image.number if image_id is None else image_id,
        "category_id": ids.of(box.class_id, box.label),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "score": box.score,
        "verdict": box.verdict,
        "error": error_of(box),
        "mechanism": box.mechanism,
        "outside": outside,
        **named,
    }
