"""Frames of a video file, or of a camera, one after the other.

Frames are (h, w, 3) uint8 BGR. A file that says that it was filmed on its side is turned, as players show it.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..utils.words import printable
from .opencv import opencv

DEFAULT_RATE = 25.0  # where a video or camera doesn't tell its own


@dataclass(frozen=True)
class VideoFacts:
    """What a video says of itself.

    Attributes:
        size: (h, w) of its frames, turned where it says so.
        rate: frames a second.
        count: how many frames it says that it has, which may be wrong; 0 if it doesn't say.
        turned: by how many degrees its frames are turned.
        rate_is_told: whether `rate` is the video's own.
    """

    size: tuple[int, int]
    rate: float
    count: int
    turned: int
    rate_is_told: bool


class VideoFile:
    """A video file, which may be read several times.

    Args:
        path: the file.

    Attributes:
        facts: what it says of itself.

    Raises:
        ValueError: if there is no such file, it can't be read as a video, or has no frame.
        ImportError: without OpenCV.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        if not self.path.is_file():
            raise ValueError(f"`path` must be a video file; got {self._shown}, which isn't there: check the name")
        with _opened(self.path) as capture:
            if not capture.isOpened():
                raise ValueError(
                    f"`path` must be a video that OpenCV can read; got {self._shown}, which is none, is broken, or has "
                    "a codec that this OpenCV lacks: convert it to H.264 in .mp4, or use an OpenCV with the codec"
                )
            self.facts = _facts(capture)
            if not capture.grab():
                raise ValueError(f"`path` must be a video with frames; got {self._shown} without any: check the file")

    @property
    def _shown(self) -> str:
        return repr(printable(self.path))

    def frames(self, wanted: Callable[[int], bool] = lambda _: True) -> Iterator[tuple[int, np.ndarray]]:
        """Yields number and pixels of the frames that are wanted, from the file's first on; others aren't converted."""
        with _opened(self.path) as capture:
            number = 0
            while capture.grab():
                if wanted(number):
                    found, frame = capture.retrieve()
                    if not found:
                        return
                    yield number, frame
                number += 1


class Camera:
    """A camera, whose frames come as long as they are asked for.

    Args:
        number: of the camera, from 0 on.

    Attributes:
        facts: what it says of itself.

    Raises:
        ValueError: if there is none, or it gives no frames.
        ImportError: without OpenCV.
    """

    def __init__(self, number: int = 0):
        self._capture = opencv().VideoCapture(number)
        if not (self._capture.isOpened() and self._capture.grab()):
            self.close()
            raise ValueError(
                f"`--webcam` must find a camera as number {number}; got none that gives images: connect it, and allow "
                "this program to use it"
            )
        self.facts = _facts(self._capture)

    def close(self) -> None:
        """Lets others use the camera."""
        self._capture.release()

    def frames(self) -> Iterator[np.ndarray]:
        """Yields frames until the camera gives no more."""
        while True:
            found, frame = self._capture.read()
            if not found:
                return
            yield frame


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    capture = opencv().VideoCapture(str(path))
    try:
        yield capture
    finally:
        capture.release()


def _facts(capture: Any) -> VideoFacts:
    cv2 = opencv()
    width, height, rate, count, turned = (
        capture.get(what)
        for what in (
            cv2.CAP_PROP_FRAME_WIDTH,
            cv2.CAP_PROP_FRAME_HEIGHT,
            cv2.CAP_PROP_FPS,
            cv2.CAP_PROP_FRAME_COUNT,
            cv2.CAP_PROP_ORIENTATION_META,
        )
    )
    # Written so that NaN is no rate; some files tell the ticks of their clock, thousands a second.
    told = 0.0 < rate <= 1000.0
    size = (int(height), int(width))
    return VideoFacts(size, rate if told else DEFAULT_RATE, max(0, int(count)), max(0, int(turned)), told)
