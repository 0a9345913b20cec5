"""The frames of a video as a run has kept them, with the objects that their detections are of."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from ..evaluation.runs.stored_rows import stored_instances
from ..store import RunReader
from ..structures import HeatMaps
from .figures import TrackFigures, row_of
from .tracking import Tracks

_MOST_LISTED = 20


class StoredFrames:
    """Frames of a run, and their objects, which are followed when this is made.

    Args:
        reader: the run.
        method: of the maps.
        attributes: the maps that there are.
        size: (h, w) of a frame.
        rate: frames a second, of those that were explained.
        every: every how many frames of the video one was explained.

    Attributes:
        ids: of each frame an (R,) int64, the object of each detection.
        labels: object -> name of its class.
    """

    def __init__(
        self,
        reader: RunReader,
        method: str,
        attributes: tuple[str, ...],
        size: tuple[int, int],
        rate: float,
        every: int,
    ):
        self.reader, self.method, self.attributes, self.size = reader, method, attributes, size
        self.rate, self.every = rate, every
        self.ids: list[np.ndarray] = []
        self.labels: dict[int, str] = {}
        tracks = Tracks(size, rate)
        for place in range(len(reader)):
            rows = reader.image(place, maps=False).detections
            boxes = torch.tensor([one.box for one in rows], dtype=torch.float32).reshape(-1, 4)
            numbers = torch.tensor([one.class_id for one in rows], dtype=torch.int64)
            ids = tracks.update(boxes, numbers, torch.tensor([one.score or 0.0 for one in rows]))
            self.ids.append(ids)
            for track, one in zip(ids.tolist(), rows):
                self.labels.setdefault(track, one.label)

    def __len__(self) -> int:
        return len(self.ids)

    def instances(self, place: int) -> Instances:
        """The detections of a frame with their maps, 8 bits deep; none for a frame that could not be explained."""
        stored = self.reader.image(place)
        if stored.image.failure is None and stored.detections:
            return stored_instances(stored, self.method, self.reader.class_names)
        nothing = HeatMaps.empty(self.attributes, self.size, self.size)
        boxes, numbers = Boxes(torch.zeros(0, 4)), torch.zeros(0, dtype=torch.int64)
        return Instances(self.size, pred_boxes=boxes, scores=torch.zeros(0), pred_classes=numbers, heatmaps=nothing)

    def require(self, track: int) -> None:
        """Raises ValueError, which lists the objects that there are, unless an object appears."""
        if track in self.labels:
            return
        seen = Counter(track for ids in self.ids for track in ids.tolist())
        listed = [f"{one} ({self.labels[one]}, {count} frames)" for one, count in seen.most_common(_MOST_LISTED)]
        more = f" and {len(seen) - _MOST_LISTED} more" if len(seen) > _MOST_LISTED else ""
        known = f"there are {', '.join(listed)}{more}: choose one of these" if seen else (
            "nothing was detected: lower --score-threshold"
        )  # fmt: skip
        raise ValueError(f"`--follow` must be the number of an object in the video; got {track}; {known}")

    def figures(self, track: int, attribute: str) -> TrackFigures:
        """An object's figures in all frames."""
        found = TrackFigures(track, attribute, self.labels[track])
        for place, ids in enumerate(self.ids):
            row = row_of(track, ids)
            # Maps are read where they are needed.
            found.add(place * self.every, place / self.rate, None if row is None else self.instances(place), row)
        return found

    def tracks(self) -> Iterator[tuple]:
        """Frame, seconds, object, class, score and box (x1, y1, x2, y2) of all detections."""
        for place, ids in enumerate(self.ids):
            rows = self.reader.image(place, maps=False).detections
            for track, one in zip(ids.tolist(), rows, strict=True):
                yield (place * self.every, place / self.rate, track, one.label, one.score, *one.box)
