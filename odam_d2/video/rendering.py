"""Draws the frames of a video that a run has kept."""

from collections.abc import Iterator

import numpy as np

from .drawing import ExplainedFrame, FrameDrawer
from .reading import VideoFile
from .stored import StoredFrames
from .writing import VideoWriter


def draw_video(video: VideoFile, frames: StoredFrames, drawer: FrameDrawer, writer: VideoWriter) -> Iterator[int]:
    """Draws all frames that were explained.

    Args:
        video: has the pixels.
        frames: what was found in them.
        drawer: draws a frame.
        writer: takes what is drawn.

    Yields:
        The place of each frame that was drawn.
    """
    for number, bgr in video.frames(lambda one: one % frames.every == 0):
        place = number // frames.every
        if place >= len(frames):
            return
        rgb = np.ascontiguousarray(bgr[:, :, ::-1])
        drawn = drawer.draw(ExplainedFrame(rgb, frames.instances(place), frames.ids[place], place))
        writer.write(drawn[:, :, ::-1])
        yield place
