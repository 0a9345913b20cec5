"""What the page is shown of a run on disk."""

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.images import read_image_bgr, read_image_size
from ..store import ImageRow, RunReader, StoredImage
from ..store.columns import FIGURES, WORDS
from ..store.filters import Filter
from ..utils.words import visible
from ..visualize.report import ReportImages
from ..visualize.report.images import jpegs, why_unfit
from ..visualize.report.records import image_record, verdict_of
from .decoding import require_few_pixels
from .held_images import HeldImage
from .limits import ServeLimits
from .refusals import RefusedError

_REPORT = "report"  # in the folder of a run
_FACTS = ("run.json", "analysis.json", "results.json")
_MOST_PHOTOS = 200  # that are kept as JPEG


class RunView:
    """A run as the page asks for it, a page at a time. It may be used by several threads.

    Args:
        folder: ``--output`` of the command that made it.
        limits: of images that are opened.

    Raises:
        ValueError: if the folder holds no run, or one that can't be read.
    """

    def __init__(self, folder: str | os.PathLike, limits: ServeLimits):
        self.folder, self.limits = Path(folder), limits
        self.reader = RunReader(folder)
        self._images = ReportImages(self.folder / _REPORT)
        self._photos: OrderedDict[int, tuple[bytes, bytes]] = OrderedDict()
        self._lock = threading.Lock()
        self._columns = self.reader.columns()
        self._length = len(self._columns.numbers)
        self._about = self._tell_about()
        # It takes a second or two of a million boxes; meanwhile pages are shown.
        threading.Thread(target=self._columns.prepare, name="orders", daemon=True).start()

    def close(self) -> None:
        """Closes the files."""
        self.reader.close()

    def about(self) -> dict[str, Any]:
        """What the page is told of the run at first."""
        return self._about

    def _tell_about(self) -> dict[str, Any]:
        counts = self._columns.counts(self._columns.chosen(Filter()))
        names = {column: [word for word in counts[column] if word is not None] for column in WORDS}
        facts = self._facts()
        return {
            "images": self._length,
            "boxes": len(self._columns),
            "annotated": bool(names["verdict"]) or self.reader.has_annotations(),
            "noun": "annotated box" if names["kind"] == ["annotation"] else "detection",
            "names": names,
            "figures": list(FIGURES),
            "methods": self.reader.methods(),
            "facts": facts,
        }

    def _facts(self) -> dict[str, Any]:
        """What the run's own file says of it, without the images; else what the store says."""
        for name in _FACTS:
            try:
                found = json.loads((self.folder / name).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if isinstance(found, Mapping):
                inner = found.get("run")
                plain = inner if isinstance(inner, Mapping) else found
                return {key: _shown(value) for key, value in plain.items() if _is_short(value)}
        return {key: _shown(value) for key, value in self.reader.run.items() if _is_short(value)}

    def images(self, chosen: Filter, name: str, offset: int, limit: int) -> dict[str, Any]:
        """Images with boxes that a filter leaves; without a filter all."""
        numbers, boxes = self._columns.images(None if chosen == Filter() else self._columns.chosen(chosen), name)
        shown = slice(offset, offset + limit)
        told = []
        for number, count in zip(numbers[shown].tolist(), boxes[shown].tolist(), strict=True):
            row = self.row(number)
            error = row.failure and visible(row.failure)
            told.append({"number": number, "name": visible(row.name), "boxes": count, "error": error})
        return {"count": len(numbers), "images": told}

    def boxes(self, chosen: Filter, order_by: str, descending: bool, offset: int, limit: int) -> dict[str, Any]:
        """Boxes that a filter leaves, and how many of them there are by kind, class, verdict and mechanism."""
        fits = self._columns.chosen(chosen)
        counts = self._columns.counts(fits)
        places = self._columns.page(fits, order_by, descending, offset, limit)
        return {
            "count": int(fits.sum()),
            "total": len(self._columns),
            "counts": {name: {word or "": count for word, count in found.items()} for name, found in counts.items()},
            "boxes": [
                {
                    "image": image,
                    "row": row,
                    "label": visible(one.label),
                    "score": one.score,
                    "kind": one.kind,
                    "verdict": verdict_of(one),
                    "mechanism": one.mechanism,
                    "iou": one.iou,
                    "outside": one.outside,
                }
                for (image, row), one in zip(places, self.reader.rows_at(places), strict=True)
            ],
        }

    def stored(self, number: int) -> StoredImage:
        """An image with its rows and maps; raises RefusedError with 404 if the run has none of the number."""
        try:
            return self.reader.image(number)
        except IndexError as error:
            raise RefusedError(404, f"the run has no image number {number}: it has {self._length} images") from error

    def record(self, number: int) -> dict[str, Any]:
        """The record of an image, as the report has it."""
        stored = self.stored(number)
        address: str | None = None
        gone: str | None = None
        if stored.image.failure is None:
            try:
                self.photo(number)
                address = f"/api/run/photo/{number}"
            except RefusedError as error:
                gone = str(error)
        record = image_record(stored, address, gone)
        return {**record, "number": number, "key": f"run-{number}"}

    def photo(self, number: int, small: bool = False) -> bytes:
        """The JPEG of an image; raises RefusedError with 404 if there is none."""
        with self._lock:
            if number in self._photos:
                self._photos.move_to_end(number)
                return self._photos[number][small]
        row = self.row(number)
        found = self._images.kept(row)
        if found is None:
            pixels = self.pixels(number)
            why = why_unfit(row, pixels)
            if why is not None:
                raise RefusedError(404, why)
            found = jpegs(pixels)
        with self._lock:
            self._photos[number] = found
            while len(self._photos) > _MOST_PHOTOS:
                self._photos.popitem(last=False)
        return found[small]

    def row(self, number: int) -> ImageRow:
        """The row of an image; raises RefusedError with 404 if the run has none of the number."""
        found = self.reader.image_row(number)
        if found is None:
            raise RefusedError(404, f"the run has no image number {number}: it has {self._length} images")
        return found

    def pixels(self, number: int):
        """The pixels (h, w, 3) uint8 BGR of an image, from its own file; raises RefusedError where it is gone."""
        row = self.row(number)
        try:
            height, width = read_image_size(row.path)
            require_few_pixels(width, height, self.limits)
            return read_image_bgr(row.path)
        except (ValueError, OSError) as error:
            raise RefusedError(404, f"the image {visible(row.name)!r} can't be read where the run had it") from error

    def opened(self, number: int) -> HeldImage:
        """An image of the run, to be worked with."""
        return HeldImage.of_pixels(visible(self.row(number).name), self.pixels(number))


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    return {key: _shown(one) for key, one in value.items()} if isinstance(value, Mapping) else value


def _is_short(value: Any) -> bool:
    """Whether a fact is one to read, no list of all images."""
    if isinstance(value, Mapping):
        return len(value) <= 40 and all(_is_short(one) for one in value.values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return len(value) <= 100 and not any(isinstance(one, Mapping | list) for one in value)
    return True
