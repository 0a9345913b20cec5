"""Videos that tests make and read back."""

from pathlib import Path

import cv2
import numpy as np


def write_video(path: Path, frames, rate: float = 10.0, codec: str = "mp4v") -> Path:
    """A video by OpenCV itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), rate, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def greys(number: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Frames of one grey each, 20 brighter than the one before."""
    return [np.full((height, width, 3), 20 * k, np.uint8) for k in range(number)]


def read_video(path: Path) -> tuple[list[np.ndarray], float]:
    """All frames (BGR), and how many a second, by OpenCV itself."""
    capture, frames = cv2.VideoCapture(str(path)), []
    assert capture.isOpened(), path
    while True:
        found, frame = capture.read()
        if not found:
            rate = capture.get(cv2.CAP_PROP_FPS)
            capture.release()
            return frames, rate
        frames.append(frame)


def turned(path: Path) -> Path:
    """An .mp4 that says that it was filmed on its side: the matrix of its track's header is that of 90 degrees."""
    data = bytearray(path.read_bytes())
    # Behind "tkhd" of version 0: flags, two times, track, reserved, length (24 bytes), then 16 up to the matrix.
    place = data.index(b"tkhd") + 4 + 24 + 16
    assert data[place : place + 4] == b"\x00\x01\x00\x00"
    numbers = (0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)
    data[place : place + 36] = b"".join(n.to_bytes(4, "big", signed=True) for n in numbers)
    target = path.with_name(f"turned_{path.name}")
    target.write_bytes(data)
    return target
