"""Explains what a camera sees, as it comes: to a window, a file, or both."""

import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from detectron2.structures import Instances

from ..visualize.storage import class_name
from .drawing import AllObjects, ExplainedFrame, FrameDrawer, OneObject
from .figures import TrackFigures, row_of
from .opencv import opencv
from .reading import Camera
from .tracking import Tracks
from .writing import VideoWriter

_TITLE = "odam explain"
_STOP = (27, ord("q"))  # Esc
_CURVES = 600  # frames that curves go back


class LiveTarget(ABC):
    """Takes frames as they are drawn."""

    @abstractmethod
    def take(self, frame: np.ndarray) -> bool:
        """Takes a frame, (h, w, 3) uint8 BGR; says whether to go on."""


class Window(LiveTarget):
    """A window, until q or Esc is pressed or it is closed.

    Raises:
        ValueError: where this OpenCV, or this machine, has no windows.
    """

    def __init__(self) -> None:
        reason = _why_no_window()
        if reason is not None:
            raise ValueError(f"`--webcam` must have a window to draw to, or a file; got {reason}: give --output FILE")

    def take(self, frame: np.ndarray) -> bool:
        """Shows a frame."""
        cv2 = opencv()
        cv2.imshow(_TITLE, frame)
        key = cv2.waitKey(1) & 0xFF
        return key not in _STOP and cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) >= 1


def _why_no_window() -> str | None:
    # Some of OpenCV's windows end the process where there is no display, so they can't just be tried.
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "no display"
    cv2 = opencv()
    try:
        cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL)
    except cv2.error:
        return "an OpenCV without windows (opencv-python has them, opencv-python-headless hasn't)"
    return None


class LiveFile(LiveTarget):
    """A video file that plays as fast as things happened: a frame is repeated until the next one is there.

    Args:
        writer: of the file.
        clock: tells seconds.
    """

    def __init__(self, writer: VideoWriter, clock: Callable[[], float] = time.monotonic):
        self._writer, self._clock = writer, clock
        self._start: float | None = None

    def take(self, frame: np.ndarray) -> bool:
        """Writes a frame as often as is due."""
        now = self._clock()
        self._start = now if self._start is None else self._start
        due = int((now - self._start) * self._writer.rate + 1e-6) + 1
        for _ in range(max(1, due - self._writer.written)):
            self._writer.write(frame)
        return True


@contextmanager
def stopped_by_keyboard() -> Iterator[None]:
    """Ctrl-C ends the block as if it had come to its end."""
    try:
        yield
    except KeyboardInterrupt:
        pass


def explain_live(
    camera: Camera,
    every: int,
    explain: Callable[[np.ndarray], Instances],
    class_names: Sequence[str],
    attribute: str,
    follow: int | None,
    targets: Sequence[LiveTarget],
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[int]:
    """Explains every n-th frame of a camera until a target or the camera ends it.

    Args:
        camera: gives frames.
        every: n.
        explain: (h, w, 3) uint8 BGR -> R detections with ``heatmaps``, on the CPU.
        class_names: by the detector's numbers.
        attribute: which map to draw.
        follow: the object to follow; None for all.
        targets: take what is drawn.
        clock: tells seconds.

    Yields:
        How many objects were seen, after each frame.
    """
    tracks, start, most = Tracks(camera.facts.size, camera.facts.rate / every), clock(), 0
    figures = None if follow is None else TrackFigures(follow, attribute)
    drawer: FrameDrawer = AllObjects(class_names, attribute)
    if figures is not None:
        drawer = OneObject(class_names, attribute, figures)
    for number, bgr in enumerate(camera.frames()):
        if number % every:
            continue
        instances = explain(bgr)
        ids = tracks.update(instances.pred_boxes.tensor, instances.pred_classes, instances.scores)
        place = 0
        if figures is not None:
            row = row_of(figures.track, ids)
            label = "" if row is None else class_name(int(instances.pred_classes[row]), class_names)
            figures.add(number, clock() - start, instances, row, label)
            figures.forget(_CURVES)
            place = len(figures.frames) - 1
        drawn = drawer.draw(ExplainedFrame(np.ascontiguousarray(bgr[:, :, ::-1]), instances, ids, place))
        most = max(most, int(ids.max(initial=-1)) + 1)
        goes_on = [target.take(np.ascontiguousarray(drawn[:, :, ::-1])) for target in targets]
        yield most
        if not all(goes_on):
            return
