"""Writes a video, whole or not at all."""

import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ..utils.files import FULL, OutputError
from ..utils.words import printable
from .opencv import opencv

# Codecs by the file's suffix, the first that this OpenCV has is taken. Its wheels have no H.264 encoder, whose licence
# forbids that; Detectron2's demo takes mp4v, too.
CODECS = {
    ".mp4": ("mp4v",),
    ".m4v": ("mp4v",),
    ".mov": ("mp4v",),
    ".mkv": ("mp4v", "MJPG"),
    ".avi": ("MJPG", "XVID"),
    ".webm": ("VP90", "VP80"),
}


def require_suffix(path: str | os.PathLike) -> None:
    """Raises ValueError unless a file's name says which kind of video it is."""
    if Path(path).suffix.lower() not in CODECS:
        raise ValueError(
            f"`path` must end in one of {', '.join(CODECS)} for a video; got {printable(path)!r}: choose one of these"
        )


class VideoWriter:
    """A video file in the making; it appears under its name when the block ends without an error.

    It is written aside, as ``.NAME.unfinished.SUFFIX``; what a process left there that was killed is overwritten.

    Args:
        path: the file; its suffix says which kind of video it becomes, see :data:`CODECS`.
        rate: frames a second.
        codec: four letters; default by the suffix.

    Raises:
        ValueError: if the suffix is another one.
        ImportError: without OpenCV.

    Attributes:
        written: frames so far.
    """

    def __init__(self, path: str | os.PathLike, rate: float, codec: str | None = None):
        require_suffix(path)
        self.path, self.rate, self.written = Path(path), rate, 0
        self._codecs = CODECS[self.path.suffix.lower()] if codec is None else (codec,)
        self._aside = self.path.with_name(f".{self.path.stem}.unfinished{self.path.suffix}")
        self._writer: Any = None
        self._size: tuple[int, int] | None = None

    def __enter__(self) -> "VideoWriter":
        return self

    def write(self, frame: np.ndarray) -> None:
        """Adds a frame, (h, w, 3) uint8 BGR. Codecs take even sides: an odd one's last line is repeated.

        Raises:
            ValueError: if it has another size than the first, or OpenCV has no codec for such a file.
            OutputError: if the folder takes no files.
        """
        height, width = frame.shape[:2]
        if self._writer is None:
            self._open(height, width)
        if (height, width) != self._size:
            raise ValueError(
                f"`frame` must be {self._size} as the first one; got {(height, width)}: a video has frames of one size"
            )
        if height % 2 or width % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        self._writer.write(np.ascontiguousarray(frame))
        self.written += 1

    def _open(self, height: int, width: int) -> None:
        cv2 = opencv()
        self._make_room()
        size = (width + width % 2, height + height % 2)
        for codec in self._codecs:
            writer = cv2.VideoWriter(str(self._aside), cv2.VideoWriter.fourcc(*codec), self.rate, size)
            if writer.isOpened():
                self._writer, self._size = writer, (height, width)
                return
            writer.release()
        raise ValueError(
            f"`codec` must be one that this OpenCV can write to {self.path.suffix} files; got "
            f"{' and '.join(map(repr, self._codecs))} for {size[0]} x {size[1]} pixels: name another by --codec, or "
            f"another kind of file ({', '.join(CODECS)})"
        )

    def _make_room(self) -> None:
        """Makes sure that the folder takes files: OpenCV wouldn't say why it can't write."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._aside.write_bytes(b"")
        except OSError as error:
            raise OutputError(self.path, error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()
        try:
            if kind is None and self.written:
                self._finish()
        finally:
            with contextlib.suppress(OSError):
                self._aside.unlink(missing_ok=True)

    def _finish(self) -> None:
        # OpenCV doesn't say that a disk is full; what it has written then lacks its end, and can't be read.
        capture = opencv().VideoCapture(str(self._aside))
        whole = capture.isOpened() and capture.grab()
        capture.release()
        if not whole:
            raise OutputError(self.path, OSError(FULL[0], os.strerror(FULL[0])))
        try:
            os.replace(self._aside, self.path)
        except OSError as error:
            raise OutputError(self.path, error) from error
