"""Explains the frames of a video and keeps each at once, so that an interrupted run goes on where it was."""

from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
from detectron2.structures import Instances

from ..evaluation.runs.stored_rows import detection_rows
from ..store import ImageRow, RunWriter, StoredImage
from .reading import VideoFile

Explain = Callable[[np.ndarray], Instances]


def frame_key(frame: int) -> str:
    """What a run knows a frame by."""
    return str(frame)


def explain_frames(
    video: VideoFile,
    every: int,
    explain: Explain,
    writer: RunWriter,
    class_names: Sequence[str],
    method: str,
    finished: Collection[str] = (),
) -> Iterator[tuple[int, Exception | None]]:
    """Explains every n-th frame that isn't finished, and keeps its rows.

    Args:
        video: the file.
        every: n; the first frame is always explained.
        explain: (h, w, 3) uint8 BGR -> R detections with ``heatmaps``, on the CPU.
        writer: keeps frames, each whole or not at all.
        class_names: by the detector's numbers.
        method: what the maps are made by.
        finished: keys of frames that are kept already.

    Yields:
        The number of each frame that was explained, and the error of one that could not be: such a frame is kept
        without detections, and explained again by the next run.
    """
    for number, pixels in video.frames(lambda one: one % every == 0 and frame_key(one) not in finished):
        name = f"{video.path.name}, frame {number}"
        row = ImageRow(number // every, frame_key(number), name, str(video.path.absolute()), pixels.shape[:2])
        try:
            instances = explain(pixels)
        except (ValueError, FloatingPointError) as error:
            writer.write(StoredImage(_with(row, failure=str(error))))
            yield number, error
            continue
        maps = {(method, ""): (range(len(instances)), instances.heatmaps)}
        row = _with(row, input_size=instances.heatmaps.image_size, facts={"boxes": len(instances)})
        writer.write(StoredImage(row, None, detection_rows(instances, class_names), maps))
        yield number, None


def _with(row: ImageRow, **values: object) -> ImageRow:
    return ImageRow(**{**vars(row), **values})
