"""A short video of people who pass behind each other, with the track of each: for what follows objects.

A street that doesn't move, four people who walk at a steady pace, and one who stands. Person 3 passes in front of 4
(about frame 8), 0 in front of 1 (about frame 17), and 3 behind 2 (about frame 36). Every frame is a function of the
seed and its number.
"""

import json
import os
from collections.abc import Iterator

import cv2
import numpy as np

from ...utils.files import write_text
from .rendering.backgrounds import draw_background
from .rendering.board import tight_box
from .rendering.camera import Camera
from .rendering.canvas import Canvas
from .rendering.people import draw_person
from .rendering.photometry import photograph
from .rendering.placement import Item, far_to_near, visible_ids

WIDTH, HEIGHT, NUM_FRAMES, RATE = 480, 320, 48, 12.0
_IDENT = 2  # enters the random seed, beside those of the profiles
# Where the feet are in the first frame, as shares of the image's sides, and pixels a frame to the right.
_WALKS = ((0.08, 0.94, 4.8), (0.42, 0.84, -4.5), (0.68, 0.9, 0.0), (0.98, 0.8, -4.0), (0.93, 0.7, -1.0))


class PassingPeople:
    """The frames of the video and the tracks, drawn when they are asked for.

    Args:
        num_frames: how many.
        width: of a frame, in pixels.
        height: of a frame, in pixels.
        seed: another seed, other people.

    Attributes:
        rate: frames a second.

    `clip[i]` is `(frame, people)`: frame (h, w, 3) uint8 BGR; people a list of dicts with ``track_id``, ``full_box``
    and ``visible_box`` (XYXY pixel edges in the frame; None where nothing is seen) and ``visible_fraction``, the share
    of the whole person's pixels that is seen.
    """

    rate = RATE

    def __init__(self, num_frames: int = NUM_FRAMES, width: int = WIDTH, height: int = HEIGHT, seed: int = 0):
        if min(num_frames, width, height) < 1:
            raise ValueError(
                f"`num_frames`, `width` and `height` must be at least 1; got {num_frames}, {width} and {height}: leave "
                "them out for the usual video"
            )
        self.num_frames, self.width, self.height, self.seed = num_frames, width, height, seed
        rng = np.random.default_rng([seed, _IDENT])
        camera = Camera(0.22 * height, 3.0, 1.1 * width, 0.1)
        self._background = draw_background(rng, camera, width, height)
        places = [(x * width, y * height, pace * width / WIDTH) for x, y, pace in _WALKS]
        self._walks = [(draw_person(rng, camera.scale(y)), x, y, pace) for x, y, pace in places]
        self._slant = (rng.uniform(-1.2, 1.2), rng.uniform(0.12, 0.3))
        self._light = int(rng.integers(2**31))

    def __len__(self) -> int:
        return self.num_frames

    def __iter__(self) -> Iterator[tuple[np.ndarray, list[dict]]]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> tuple[np.ndarray, list[dict]]:
        if not 0 <= index < len(self):
            raise IndexError(f"`index` must be in [0, {len(self)}); got {index}")
        return self._paint(self._items(index)), self.people(index)

    def _items(self, index: int) -> list[Item]:
        return [Item("person", sprite, x + index * pace, y) for sprite, x, y, pace in self._walks]

    def _paint(self, items: list[Item]) -> np.ndarray:
        canvas, order = Canvas(self._background), far_to_near(items)
        for item in (items[k] for k in order):
            canvas.shadow(item.sprite, item.x, item.y, 0.4, self._slant)
        for item in (items[k] for k in order):
            canvas.paint(item.sprite, item.x, item.y)
        # The same light, and grain, in each frame.
        return photograph(np.random.default_rng(self._light), canvas.image)

    def people(self, index: int) -> list[dict]:
        """The people of a frame, without drawing it."""
        items = self._items(index)
        ids = visible_ids(items, self.width, self.height)
        people = []
        for track, item in enumerate(items):
            mask = ids == track
            visible = tight_box(mask)
            whole = int(np.count_nonzero(item.sprite.covered))
            people.append(
                {
                    "track_id": track,
                    "full_box": [float(side) for side in item.box()],
                    "visible_box": None if visible is None else [float(side) for side in visible],
                    "visible_fraction": round(int(np.count_nonzero(mask)) / whole, 4),
                }
            )
        return people


def write_clip(clip: PassingPeople, folder: str | os.PathLike) -> None:
    """Writes ``clip.mp4`` and ``tracks.json``, a list of a list of people for each frame.

    Args:
        clip: the frames; both sides even, since video codecs drop odd rows and columns.
        folder: made when missing.

    Raises:
        ValueError: if a side is odd.
        OSError: if OpenCV can't write such a video.
    """
    if clip.width % 2 or clip.height % 2:
        raise ValueError(f"`clip` must have even sides; got {clip.width} x {clip.height}: video codecs drop the rest")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "clip.mp4")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), clip.rate, (clip.width, clip.height))
    if not writer.isOpened():
        raise OSError(f"{path!r} must be a video that OpenCV can write; got none: its build lacks the codec mp4v")
    tracks = []
    for frame, people in clip:
        writer.write(frame)
        tracks.append(people)
    writer.release()
    write_text(os.path.join(folder, "tracks.json"), json.dumps(tracks) + "\n")
