"""The images that are worked with, by names that say what is in them."""

import hashlib
import io
import re
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from PIL import Image

from .limits import ServeLimits
from .refusals import RefusedError

_ID = re.compile(r"[0-9a-f]{16}")
# Below, an image is sent as PNG, to the last bit; above, it would take long.
_PNG_PIXELS = 1_000_000


@dataclass(frozen=True, eq=False)
class HeldImage:
    """An image that is worked with.

    Attributes:
        id: 16 hexadecimal digits of its pixels' checksum.
        name: what people call it.
        pixels: (h, w, 3) uint8, BGR.
        of: the id of the image that it was made from, where it was edited.
    """

    id: str
    name: str
    pixels: np.ndarray = field(repr=False)
    of: str | None = None

    @classmethod
    def of_pixels(cls, name: str, pixels: np.ndarray, of: str | None = None) -> "HeldImage":
        """The image of some pixels."""
        head = f"{pixels.shape[1]}x{pixels.shape[0]}:".encode()
        return cls(hashlib.sha256(head + np.ascontiguousarray(pixels).tobytes()).hexdigest()[:16], name, pixels, of)

    @property
    def size(self) -> tuple[int, int]:
        """(h, w)."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def address(self) -> str:
        """Where the page finds it."""
        return f"/api/images/{self.id}"

    @cached_property
    def encoded(self) -> tuple[bytes, str]:
        """The file that the page shows, and its media type."""
        buffer, shown = io.BytesIO(), Image.fromarray(np.ascontiguousarray(self.pixels[:, :, ::-1]))
        if shown.width * shown.height <= _PNG_PIXELS:
            shown.save(buffer, "PNG", compress_level=1)
            return buffer.getvalue(), "image/png"
        shown.save(buffer, "JPEG", quality=92)
        return buffer.getvalue(), "image/jpeg"

    def told(self) -> dict:
        """What the page is told of it."""
        return {"image": self.id, "name": self.name, "size": [self.size[1], self.size[0]], "of": self.of}


class HeldImages:
    """Holds the images that were used last. It may be used by several threads.

    Args:
        limits: how many, and of how many pixels together.
    """

    def __init__(self, limits: ServeLimits):
        self._limits = limits
        self._held: OrderedDict[str, HeldImage] = OrderedDict()
        self._pinned: dict[str, HeldImage] = {}
        self._lock = threading.Lock()

    def add(self, image: HeldImage) -> HeldImage:
        """Holds an image; those that were used longest ago go."""
        with self._lock:
            if image.id in self._pinned:
                return self._pinned[image.id]
            self._held[image.id] = image
            self._held.move_to_end(image.id)
            while len(self._held) > 1 and (len(self._held) > self._limits.images or self._pixels() > self._most()):
                self._held.popitem(last=False)
            return image

    def pin(self, image: HeldImage) -> HeldImage:
        """Holds an image for good."""
        with self._lock:
            return self._pinned.setdefault(image.id, image)

    def find(self, name: str) -> HeldImage:
        """The image of an id.

        Raises:
            RefusedError: with 404 if there is none any more.
        """
        with self._lock:
            found = self._pinned.get(name)
            if found is None and _ID.fullmatch(name) and name in self._held:
                found = self._held[name]
                self._held.move_to_end(name)
        if found is None:
            raise RefusedError(404, "the image is no longer held by the server: choose it again")
        return found

    def _pixels(self) -> int:
        return sum(one.size[0] * one.size[1] for one in self._held.values())

    def _most(self) -> int:
        return self._limits.held_pixels
