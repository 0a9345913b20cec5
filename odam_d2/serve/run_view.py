"""What the page is shown of a run on disk."""

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.images import read_image_bgr, read_image_size
from ..store import ImageRow, RunReader, StoredImage
from ..store.columns import FIGURES, WORDS
from ..store.filters import Filter
from ..store.groups import GroupedBoxes
from ..structures import COMBINED_PARTS
from ..utils.words import visible
from ..visualize.report import ReportImages
from ..visualize.report.images import jpegs, why_unfit
from ..visualize.report.records import image_record, verdict_of
from .decoding import require_few_pixels
from .held_images import HeldImage
from .limits import ServeLimits
from .refusals import RefusedError
from .run_facts import REPORT, facts_of
from .run_figures import FIGURE, RunFigures

_MOST_PHOTOS = 200  # that are kept as JPEG
_MOST_FAILURES = 200  # that are listed; the list of images shows all


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
        self._images = ReportImages(self.folder / REPORT)
        self._photos: OrderedDict[int, tuple[bytes, bytes]] = OrderedDict()
        self._lock = threading.Lock()
        self._columns = self.reader.columns()
        self._length = len(self._columns.numbers)
        self._about = self._tell_about()
        self._figures = RunFigures(self.reader)
        # It takes a second or two of a million boxes; meanwhile pages are shown.
        threading.Thread(target=self._columns.prepare, name="orders", daemon=True).start()

    def close(self) -> None:
        """Closes the files."""
        self._figures.close()
        self.reader.close()

    def about(self) -> dict[str, Any]:
        """What the page is told of the run at first."""
        return self._about

    def _tell_about(self) -> dict[str, Any]:
        counts = self._columns.counts(self._columns.chosen(Filter()))
        names = {column: [word for word in counts[column] if word is not None] for column in WORDS}
        attributes = self._attributes()
        known = [name for name in FIGURES if self._columns.has(name)]
        failures = self.reader.failures(_MOST_FAILURES)
        return {
            "images": self._length,
            "boxes": len(self._columns),
            "failed": self._columns.failed,
            "failures": [[visible(name), visible(why)] for name, why in failures],
            "first": self._columns.first(),
            "annotated": bool(names["verdict"]) or self.reader.has_annotations(),
            "noun": "annotated box" if names["kind"] == ["annotation"] else "detection",
            "names": names,
            "figures": known,
            "attributes": attributes,
            "combined": list(COMBINED_PARTS) if set(COMBINED_PARTS) <= set(attributes) else None,
            "methods": self.reader.methods(),
            "facts": facts_of(self.folder, self.reader),
        }

    def _attributes(self) -> list[str]:
        """The attributes of the boxes' own maps; `combined` is made of others by the page."""
        own = (names for (_, role), names in self.reader.attributes().items() if role == "")
        return [name for name in dict.fromkeys(name for names in own for name in names) if name != "combined"]

    def figures(self) -> list[str]:
        """The names of all figures that boxes can be sorted by; waits until they are read."""
        return self._figures.columns().names

    def images(
        self, chosen: Filter, name: str = "", order_by: str = "place", offset: int = 0, limit: int = 200
    ) -> dict[str, Any]:
        """Images with boxes that a filter leaves; without a filter all.

        Args:
            chosen: the filter.
            name: a part of the images' names, in any case.
            order_by: one of :data:`~odam_d2.store.columns.IMAGE_ORDERS`.
            offset: how many to leave out at the beginning.
            limit: the most to return.
        """
        fits = None if chosen == Filter() else self._columns.chosen(chosen)
        numbers, passing = self._columns.images(fits, name, order_by)
        shown = slice(offset, offset + limit)
        told = []
        for number, count in zip(numbers[shown].tolist(), passing[shown].tolist(), strict=True):
            row = self.row(number)
            error = row.failure and visible(row.failure)
            boxes = self._columns.total(number)
            told.append({"number": number, "name": visible(row.name), "boxes": boxes, "passing": count, "error": error})
        return {"count": len(numbers), "images": told}

    def rows(self, number: int, chosen: Filter, name: str = "") -> list[int]:
        """The rows of an image whose boxes a filter leaves; see :meth:`boxes` for `name`."""
        self.row(number)
        return self._columns.rows_of(number, self._columns.chosen(chosen, name))

    def boxes(
        self,
        chosen: Filter,
        name: str = "",
        order_by: str = "place",
        descending: bool = False,
        group_by: str | None = None,
        offset: int = 0,
        limit: int = 100,
    ) -> dict[str, Any]:
        """Boxes that a filter leaves, and how many of them there are by kind, class, verdict and mechanism.

        Args:
            chosen: the filter.
            name: a part of the names of their images, in any case.
            order_by: one of :data:`~odam_d2.store.filters.ORDERS`, or ``figure`` and, behind a space, the name of one.
            descending: the greatest first.
            group_by: one of :data:`~odam_d2.store.columns.GROUPS`: the list then has a heading above the
                boxes of each, which counts as one of its items.
            offset: how many items to leave out at the beginning.
            limit: the most items to return.

        Raises:
            RefusedError: if no box has such a figure.
        """
        columns, figure = self._columns, None
        fits = columns.chosen(chosen, name)
        if order_by.startswith(FIGURE):
            figure = order_by.removeprefix(FIGURE)
            if figure not in self._figures.columns().names:
                raise RefusedError(422, f"`order_by` must name a figure of the run; got {figure[:80]!r}: see /figures")
            found = self._figures.columns().sorted(fits, figure, descending)
        else:
            found = columns.sorted(fits, order_by, descending)
        items: list[tuple[int, int | None]]
        if group_by is None:
            titles: list[str | None] = []
            length, items = len(found), [(box, None) for box in found[offset : offset + limit].tolist()]
        else:
            groups, titles = columns.groups(group_by)
            listed = GroupedBoxes(found, groups[found])
            length, items = len(listed), listed.page(offset, limit)
        counts = columns.counts(fits)
        narrowed = any(getattr(chosen, column) is not None for column in WORDS)
        return {
            "count": len(found),
            "total": len(columns),
            "items": length,
            "counts": _by_name(counts),
            "choices": _by_name(columns.choices(chosen, name) if narrowed else counts),
            "boxes": self._told(items, titles, figure),
        }

    def _told(
        self, items: Sequence[tuple[int, int | None]], titles: Sequence[str | None], figure: str | None
    ) -> list[dict[str, Any]]:
        """Boxes and headings of a list, see :class:`GroupedBoxes`; `figure` is what boxes are sorted by."""
        boxes = np.array([box for box, count in items if count is None], np.int64)
        places = self._columns.places(boxes)
        values = [None] * len(boxes) if figure is None else self._figures.columns().values(figure, boxes)
        told = iter(
            {
                "image": number,
                "row": row,
                "name": visible(self._columns.name(number)),
                "label": visible(one.label),
                "score": one.score,
                "box": [round(side, 2) for side in one.box],
                "kind": one.kind,
                "verdict": verdict_of(one),
                "mechanism": one.mechanism,
                "iou": one.iou,
                "outside": one.outside,
                "value": value,
            }
            for (number, row), one, value in zip(places, self.reader.rows_at(places), values, strict=True)
        )
        return [
            next(told) if count is None else {"group": (title := titles[item]) and visible(title), "count": count}
            for item, count in items
        ]

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


def _by_name(counts: Mapping[str, Mapping[str | None, int]]) -> dict[str, dict[str, int]]:
    """Counts by word, as JSON can hold them: an empty word stands for boxes without."""
    return {name: {word or "": count for word, count in found.items()} for name, found in counts.items()}
