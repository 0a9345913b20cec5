"""Frames as they are shown: boxes and maps of all detections, or of one object that is followed.

An object has one colour in all frames. Frames are (h, w, 3) uint8 RGB.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from detectron2.structures import Instances

from ..visualize.overlay import ALPHA, COLORMAP, OPAQUE_FROM, draw_boxes, draw_heatmap, instance_color
from ..visualize.storage import class_name
from ..visualize.strips import BACKGROUND, surroundings
from ..visualize.text import drawn_name
from .curves import Chart, Curve, draw_panel
from .figures import TrackFigures, row_of

_SHORTEST_PANEL = 180  # pixels
_OTHERS = (0.75, 0.75, 0.75)  # boxes that aren't followed
_SCORE, _NEIGHBOURS, _BEYOND = (38, 89, 196), (214, 90, 24), (150, 30, 30)


@dataclass(frozen=True)
class ExplainedFrame:
    """A frame with its detections.

    Attributes:
        rgb: (h, w, 3) uint8.
        instances: R detections with ``pred_boxes``, ``scores``, ``pred_classes`` and ``heatmaps``, on the CPU.
        ids: (R,) int64, whose they are.
        place: how many frames that were explained come before it.
    """

    rgb: np.ndarray
    instances: Instances
    ids: np.ndarray
    place: int


class FrameDrawer(ABC):
    """Draws the frames of a video, all of one size.

    Args:
        class_names: by the detector's numbers.
        attribute: which map to draw.
    """

    def __init__(self, class_names: Sequence[str], attribute: str):
        self.class_names, self.attribute = class_names, attribute

    @abstractmethod
    def draw(self, frame: ExplainedFrame) -> np.ndarray:
        """(h', w', 3) uint8 RGB."""

    def _labels(self, frame: ExplainedFrame) -> list[str]:
        """Object, class and score of each detection: ``3 person 0.98``."""
        instances, names = frame.instances, []
        for number, score, track in zip(instances.pred_classes.tolist(), instances.scores.tolist(), frame.ids):
            names.append(f"{track} {drawn_name(number, class_name(number, self.class_names))} {score:.2f}")
        return names


class AllObjects(FrameDrawer):
    """All detections, each box and its heat in the colour of its object."""

    def draw(self, frame: ExplainedFrame) -> np.ndarray:
        """(h, w, 3) uint8 RGB."""
        colors = [instance_color(int(track)) for track in frame.ids]
        tinted = draw_tints(frame.rgb, frame.instances, self.attribute, colors)
        return draw_boxes(tinted, frame.instances.pred_boxes.tensor.numpy(), self._labels(frame), colors)


class OneObject(FrameDrawer):
    """One object with its map and box, the boxes of all others in grey, and its curves beside the frame.

    Args:
        class_names: by the detector's numbers.
        attribute: which map to draw.
        figures: of the object, of the frames to draw; those behind the frame that is drawn are faint.
    """

    def __init__(self, class_names: Sequence[str], attribute: str, figures: TrackFigures):
        super().__init__(class_names, attribute)
        self.figures = figures

    def draw(self, frame: ExplainedFrame) -> np.ndarray:
        """(h', w', 3) uint8 RGB."""
        row, rgb = row_of(self.figures.track, frame.ids), frame.rgb
        boxes, labels = frame.instances.pred_boxes.tensor.numpy(), self._labels(frame)
        others = [k for k in range(len(boxes)) if k != row]
        if row is not None:
            rgb = self._heated(frame, row)
        rgb = draw_boxes(rgb, boxes[others], colors=[_OTHERS] * len(others))
        if row is not None:
            rgb = draw_boxes(rgb, boxes[[row]], [labels[row]], [instance_color(self.figures.track)])
        return self._beside(rgb, frame.place, row is not None)

    def _heated(self, frame: ExplainedFrame, row: int) -> np.ndarray:
        x1, y1, x2, y2, heat = _own_heat(frame.instances, row, self.attribute)
        heated = frame.rgb.copy()
        heated[y1:y2, x1:x2] = draw_heatmap(frame.rgb[y1:y2, x1:x2], heat, ALPHA, COLORMAP)
        return heated

    def _beside(self, rgb: np.ndarray, place: int, is_seen: bool) -> np.ndarray:
        figures = self.figures
        height, width = max(rgb.shape[0], _SHORTEST_PANEL), rgb.shape[1]
        on, beyond = ([getattr(one, name) for one in figures.shares] for name in ("on_neighbours", "beyond"))
        charts = [
            Chart("score", [Curve("score", _SCORE, figures.scores)]),
            Chart(
                f"share of heat ({self.attribute}) on neighbours",
                [Curve("in their boxes", _NEIGHBOURS, on), Curve("and not in its own", _BEYOND, beyond)],
            ),
        ]
        title = f"{figures.track} {figures.label}" + ("" if is_seen else ": not detected")
        red, green, blue = (round(255 * part) for part in instance_color(figures.track))
        size = (height, max(220, round(0.85 * height)))
        panel = draw_panel(size, title, (red, green, blue), figures.seconds, place, charts)
        sheet = np.empty((height, width + panel.shape[1], 3), np.uint8)
        sheet[:] = BACKGROUND
        sheet[: rgb.shape[0], :width], sheet[:, width:] = rgb, panel
        return sheet


def draw_tints(
    rgb: np.ndarray, instances: Instances, attribute: str, colors: Sequence[tuple[float, float, float]]
) -> np.ndarray:
    """Lays the maps of R detections over an image, each in its own colour.

    Where several lie over each other, a pixel's colour is their mean by heat, and its opacity that of the hottest.

    Args:
        rgb: (h, w, 3) uint8.
        instances: R detections with ``pred_boxes`` and ``heatmaps``.
        attribute: which map.
        colors: R times (r, g, b) in [0, 1].

    Returns:
        (h, w, 3) uint8 RGB, a new array.
    """
    height, width = rgb.shape[:2]
    tint, total, hottest = np.zeros((height, width, 3), np.float32), *np.zeros((2, height, width), np.float32)
    for row, color in enumerate(colors):
        x1, y1, x2, y2, heat = _own_heat(instances, row, attribute)
        part = (slice(y1, y2), slice(x1, x2))
        tint[part] += heat[:, :, None] * np.asarray(color, np.float32)
        total[part] += heat
        np.maximum(hottest[part], heat, out=hottest[part])
    opacity = ALPHA * np.minimum(1.0, hottest / OPAQUE_FROM)[:, :, None]
    tint *= 255.0 / np.maximum(total, 1e-9)[:, :, None]
    return np.rint(rgb * (1.0 - opacity) + tint * opacity).astype(np.uint8)


def _own_heat(instances: Instances, row: int, attribute: str) -> tuple[int, int, int, int, np.ndarray]:
    """The part (x1, y1, x2, y2) of the frame that holds a detection's heat, and its map there in [0, 1]."""
    maps, box = instances.heatmaps[row], instances.pred_boxes.tensor[row].numpy()
    x1, y1, x2, y2 = region = surroundings(box, maps, *instances.image_size)
    heat = maps.to_image(attribute, size=(y2 - y1, x2 - x1), region=region)[0].numpy()
    return x1, y1, x2, y2, heat.clip(0.0, 1.0)
