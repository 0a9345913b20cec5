"""What a followed object's curves show: its score and its heat on neighbours, frame by frame."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from detectron2.structures import Instances

from .shares import UNKNOWN, NeighbourShares, neighbour_shares

COLUMNS = ("frame", "seconds", "score", "on_neighbours", "beyond", "x1", "y1", "x2", "y2")


def row_of(track: int, ids: np.ndarray) -> int | None:
    """The row of an object among the detections of a frame; None where it isn't detected."""
    found = np.flatnonzero(ids == track)
    return int(found[0]) if len(found) else None


@dataclass
class TrackFigures:
    """One object's figures over the frames of a video, NaN for frames without it.

    Attributes:
        track: its number.
        attribute: which of the maps.
        label: name of its class; empty until it is seen.
        frames: numbers of the frames in the video; the other lists are of the same frames.
        seconds: when they are shown.
        scores: of the object, in [0, 1].
        shares: of its heat.
        boxes: XYXY in the frame's pixels.
    """

    track: int
    attribute: str
    label: str = ""
    frames: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    shares: list[NeighbourShares] = field(default_factory=list)
    boxes: list[Sequence[float]] = field(default_factory=list)

    def add(
        self, frame: int, seconds: float, instances: Instances | None = None, row: int | None = None, label: str = ""
    ) -> None:
        """Adds a frame.

        Args:
            frame: its number.
            seconds: when it is shown.
            instances: its detections with ``heatmaps``; needn't be given where the object isn't among them.
            row: which of them is the object; None if none is.
            label: name of that one's class.
        """
        self.frames.append(frame)
        self.seconds.append(seconds)
        if row is None or instances is None:
            self.scores.append(math.nan)
            self.shares.append(UNKNOWN)
            self.boxes.append((math.nan,) * 4)
            return
        self.label = self.label or label
        boxes = instances.pred_boxes.tensor
        self.scores.append(float(instances.scores[row]))
        self.shares.append(neighbour_shares(instances.heatmaps, boxes, row, self.attribute))
        self.boxes.append(boxes[row].tolist())

    def forget(self, most: int) -> None:
        """Drops the oldest frames, so that at most so many are left."""
        for one in (self.frames, self.seconds, self.scores, self.shares, self.boxes):
            del one[: max(0, len(one) - most)]

    def as_csv(self) -> str:
        """The frames that have the object as CSV with the columns :data:`COLUMNS`."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for frame, seconds, score, share, box in self._seen():
            numbers = (score, share.on_neighbours, share.beyond, *box)
            writer.writerow([frame, f"{seconds:.3f}", *("" if math.isnan(one) else f"{one:.6g}" for one in numbers)])
        return text.getvalue()

    def _seen(self) -> Iterator[tuple[int, float, float, NeighbourShares, Sequence[float]]]:
        rows = zip(self.frames, self.seconds, self.scores, self.shares, self.boxes, strict=True)
        return (row for row in rows if not math.isnan(row[2]))
