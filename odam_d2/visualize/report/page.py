"""The page itself, and what it must know before it loads anything else."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...store import StoredImage
from ...structures import COMBINED_PARTS
from ...utils.words import visible
from ..overlay import COLORMAP, OPAQUE_FROM, color_table
from ..pages import base64_text, render_page, script_json
from .columns import ROWS, Columns
from .records import image_record

_COLORMAPS = (COLORMAP, "inferno", "viridis")
IMAGES = 10_000  # of a chunk of the list of images
# In JSON inside a script element no "<" is written as it is.
_DATA = re.compile(r'<script type="application/json" id="data">([^<]*)</script>')


@dataclass(frozen=True)
class PageWords:
    """The words of a page.

    Attributes:
        facts: about the run: texts, numbers and lists by name, or dicts of these as sections.
        title: heading of the page.
        noun: what one explained box is called, singular.
        empty: the message if there is not a single box.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    title: str = "ODAM report"
    noun: str = "detection"
    empty: str = "No detections in this run."


def read_page_facts(path: Path) -> dict[str, Any] | None:
    """The facts about the run that a page of :meth:`PageData.render` shows; None where there is no such page."""
    try:
        found = _DATA.search(path.read_text(encoding="utf-8"))
        facts = json.loads(found[1])["run"] if found else None
    except (OSError, ValueError, KeyError):
        return None
    return facts if isinstance(facts, dict) else None


class PageData:
    """Collects what the page must know of a run, an image at a time, in the order of the run.

    Chunks, which the page loads one after the other, come out while images go in: see :meth:`chunks`.
    """

    def __init__(self) -> None:
        self.columns = Columns()
        self.attributes: list[str] = []
        self.methods: list[str] = []
        self.images = self.failed = self.end = 0
        self.annotated = self._found = False
        self.first: int | None = None  # that is shown: if possible, with boxes
        self._listed: list[tuple[int, str, str | None, str | None, int]] = []
        self._number_of_chunks = {"rows": 0, "images": 0}

    def add(self, stored: StoredImage, address: str | None, thumb: str | None, gone: str | None) -> dict[str, Any]:
        """Adds an image and returns its record, see :func:`image_record`.

        Args:
            stored: the image.
            address: of its JPEG; None if there is none.
            thumb: of its thumbnail.
            gone: why there is none.
        """
        record = image_record(stored, address, gone)
        number = stored.image.number
        for row, one in enumerate(stored.detections):
            self.columns.add(number, row, one)
        for (method, role), (_, heatmaps) in stored.maps.items():
            self.methods += [method] if method not in self.methods else []
            if role == "":
                self.attributes += [name for name in heatmaps.attributes if name not in self.attributes]
        if self.first is None or (stored.detections and not self._found):
            self.first = number
        self._found = self._found or bool(stored.detections)
        self.images, self.end = self.images + 1, max(self.end, number + 1)
        self.failed += record["error"] is not None
        self.annotated |= record["annotations"] is not None
        self._listed.append((number, record["name"], thumb, record["error"], len(stored.detections)))
        return record

    def chunks(self, last: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
        """Name and content of the chunks that are full; with `last`, of what is left."""
        rows = self.columns.chunk(1 if last else ROWS)
        if rows is not None:
            yield self._named("rows"), rows
        if self._listed and (last or len(self._listed) >= IMAGES):
            numbers, names, thumbs, errors, boxes = (list(values) for values in zip(*self._listed, strict=True))
            self._listed = []
            failures = {number: error for number, error in zip(numbers, errors, strict=True) if error is not None}
            listed = {"numbers": numbers, "names": names, "thumbs": thumbs, "boxes": boxes, "failures": failures}
            yield self._named("images"), listed

    def _named(self, kind: str) -> str:
        self._number_of_chunks[kind] += 1
        return f"{kind}-{self._number_of_chunks[kind] - 1}"

    def render(
        self,
        words: PageWords,
        *,
        folder: str | None = None,
        inline: Mapping[str, Any] | None = None,
        names: Sequence[str] | None = None,
        single: bool = False,
    ) -> str:
        """The page.

        Args:
            words: its words.
            folder: of the script files, relative to the page.
            inline: name -> content of what the page doesn't load, where it is one file.
            names: the attributes to choose from, in the order to show; default all and ``combined``.
            single: whether it is about one image alone: without a list of images and facts about a run, and in a
                frame without a heading.
        """
        combined = list(COMBINED_PARTS) if set(COMBINED_PARTS) <= set(self.attributes) else None
        shown = [name for name in self.attributes if name != "combined"]
        data = {
            "names": shown + (["combined"] if combined else []) if names is None else list(names),
            "combined": combined,
            "methods": [visible(name) for name in self.methods],
            "opaque_from": OPAQUE_FROM,
            "luts": {name: base64_text(color_table(name).tobytes()) for name in _COLORMAPS},
            "run": words.facts,
            "noun": words.noun,
            "empty": words.empty,
            "single": single,
            "images": self.images,
            "failed": self.failed,
            "end": self.end,
            "first": self.first,
            "annotated": self.annotated,
            "boxes": self.columns.count,
            "tables": self.columns.tables,
            "figures": self.columns.figures,
            "chunks": self._number_of_chunks,
            "folder": folder,
            "inline": inline,
        }
        return render_page(
            "report.html", title=words.title, data=script_json(data), single=single, loads=inline is None
        )
