"""What is answered about an image: the record that the report's pages show, kept so that it can be saved as a page."""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..store import DetectionRow, ImageRow, StoredImage
from ..structures import HeatMaps
from ..visualize.report.records import image_record
from .held_images import HeldImage
from .refusals import RefusedError

Maps = Mapping[tuple[str, str], tuple[Sequence[int], HeatMaps]]


@dataclass(frozen=True)
class Answer:
    """Boxes of an image that were explained.

    Attributes:
        image: the image's id; held here, its pixels would outlive the limit of those.
        stored: its rows and maps.
    """

    image: str
    stored: StoredImage


class Answers:
    """Holds the last answers. It may be used by several threads.

    Args:
        most: how many.
    """

    def __init__(self, most: int):
        self._most = most
        self._held: OrderedDict[str, Answer] = OrderedDict()
        self._lock = threading.Lock()

    def record(
        self, image: HeldImage, rows: Sequence[DetectionRow], maps: Maps, input_size: tuple[int, int] | None
    ) -> dict[str, Any]:
        """The record of an image, see :func:`image_record`, with ``key``, by which the answer is found again.

        Args:
            image: the image.
            rows: the boxes, in the image's frame.
            maps: see :class:`StoredImage`.
            input_size: (h, w) of the model input; None if it isn't known.
        """
        row = ImageRow(0, image.id, image.name, image.name, image.size, input_size)
        answer = Answer(image.id, StoredImage(row, None, rows, maps))
        key = secrets.token_hex(8)
        with self._lock:
            self._held[key] = answer
            while len(self._held) > self._most:
                self._held.popitem(last=False)
        return {**image_record(answer.stored, image.address), "key": key}

    def find(self, key: str) -> Answer:
        """The answer of a key; raises RefusedError with 404 if there is none any more."""
        with self._lock:
            if key not in self._held:
                raise RefusedError(404, "the result is no longer held by the server: ask again")
            return self._held[key]
