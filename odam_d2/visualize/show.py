"""What a notebook's cell ends with: an image's detections and their heat maps, to click through."""

import html
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.structures import Instances
from PIL import Image

from ..data.images import ImageLike
from ..structures import HeatMaps
from ..utils.files import atomic_write, write_text
from .pixels import fitting_rgb
from .report.single import render_instances
from .sheet import draw_sheet
from .storage import known_names

_STILL_FORMATS: dict[str, dict[str, Any]] = {
    ".jpg": {"format": "JPEG", "quality": 90},
    ".jpeg": {"format": "JPEG", "quality": 90},
    ".png": {"format": "PNG", "optimize": True},
}
# Heights in pixels. The page's bars take a part of a frame; the image is between these two heights beside them. A
# notebook's cell is about this wide, the list of detections included.
_BARS, _SHORTEST, _TALLEST, _CELL_WIDTH, _LIST_WIDTH = 156, 300, 540, 960, 250


def show(
    image: ImageLike,
    instances: Instances,
    class_names: Sequence[str] = (),
    attributes: Sequence[str] | None = None,
    *,
    rgb: bool = False,
    title: str | None = None,
    height: int | None = None,
) -> "Explanation":
    """Shows an image's detections with their heat maps; the last line of a notebook's cell.

    Args:
        image: the original image: (h, w, 3) uint8 **BGR** as ``cv2.imread`` gives it and as the predictor takes it, a
            path, or a Pillow image.
        instances: R detections, or boxes that were given, as the predictor and explainers return them:
            ``pred_boxes`` (XYXY in the original image's pixels), ``pred_classes``, ``heatmaps`` and, if they have one,
            ``scores``; on any device.
        class_names: the name of each class, by its number; default those that the heat maps carry, which
            :class:`odam_d2.OdamPredictor` gives them.
        attributes: the maps to choose from, in this order; default all of ``instances.heatmaps.names``.
        rgb: whether an array is RGB.
        title: what to call the image; default the file's name, where it is one.
        height: of the frame in a notebook, in pixels; default by the image's shape.

    Returns:
        An object that notebooks draw, and that can be saved: ``show(...).save("dog.html")``.

    Raises:
        ValueError: if the image can't be read or is of another size than the instances say, there are no heat maps, or
            none of an attribute.
        TypeError: if `instances` is no ``Instances``.

    Examples:
        ::

            result = predictor(image)
            show(image, result["instances"])
    """
    return Explanation(image, instances, class_names, attributes, rgb=rgb, title=title, height=height)


class Explanation:
    """An image's detections and their heat maps, as notebooks draw them; made by :func:`show`.

    Browsers draw the interactive page in a frame of its own, which neither reaches the notebook's page nor is reached
    by it, and fetches nothing. Whatever can't (a static converter, a notebook that isn't trusted) draws a still image.
    """

    def __init__(
        self,
        image: ImageLike,
        instances: Instances,
        class_names: Sequence[str] = (),
        attributes: Sequence[str] | None = None,
        *,
        rgb: bool = False,
        title: str | None = None,
        height: int | None = None,
    ):
        _require_explained(instances)
        self._pixels = fitting_rgb(image, instances, rgb)
        self._instances = instances.to("cpu")
        self._class_names = known_names(instances, class_names)
        self._attributes = _chosen(instances.heatmaps, attributes)
        self._title = title or (Path(image).name if isinstance(image, str | os.PathLike) else "Image")
        self._height = height

    def __repr__(self) -> str:
        h, w = self._pixels.shape[:2]
        return (
            f"Explanation({self._title!r}, {w} x {h}, {len(self._instances)} detections, "
            f"attributes={self._attributes}): .save('x.html') or .save('x.jpg') keeps it"
        )

    def _repr_html_(self) -> str:
        page = html.escape(self.page())
        return (
            f'<iframe title="{html.escape(self._title)}" sandbox="allow-scripts" srcdoc="{page}" '
            f'style="display: block; width: 100%; height: {self.frame_height}px; border: 0"></iframe>'
        )

    def _repr_png_(self) -> bytes:
        return self._still(".png")

    def save(self, path: str | os.PathLike) -> None:
        """Writes the explanation, whole or not at all.

        Args:
            path: ``.html`` for the interactive page, one file that needs nothing else; ``.jpg`` or ``.png`` for a
                still image with all boxes and the heat maps of the three best detections.

        Raises:
            ValueError: if it has another suffix.
        """
        suffix = Path(path).suffix.lower()
        if suffix in (".html", ".htm"):
            write_text(path, self.page())
        elif suffix in _STILL_FORMATS:
            with atomic_write(path, "wb") as handle:
                handle.write(self._still(suffix))
        else:
            raise ValueError(f"`path` must end in .html, .jpg or .png; got {os.fspath(path)!r}: choose one of these")

    def page(self) -> str:
        """The interactive page, HTML that needs nothing else."""
        bgr = np.ascontiguousarray(self._pixels[:, :, ::-1])
        return render_instances(bgr, self._instances, self._class_names, self._attributes, self._title)

    def _still(self, suffix: str) -> bytes:
        sheet = draw_sheet(self._pixels, self._instances, self._class_names, self._attributes)
        buffer = io.BytesIO()
        Image.fromarray(sheet).save(buffer, **_STILL_FORMATS[suffix])
        return buffer.getvalue()

    @property
    def frame_height(self) -> int:
        """Height of the frame in a notebook, in pixels."""
        if self._height is not None:
            return self._height
        height, width = self._pixels.shape[:2]
        return _BARS + round(np.clip((_CELL_WIDTH - _LIST_WIDTH) * height / width, _SHORTEST, _TALLEST))


def _require_explained(instances: Any) -> None:
    """Raises unless there are heat maps to show."""
    if isinstance(instances, Mapping) and "instances" in instances:
        raise TypeError('`instances` must be Instances; got the whole result: give result["instances"]')
    if not isinstance(instances, Instances):
        raise TypeError(
            f'`instances` must be Instances; got {type(instances).__name__}: give result["instances"] of the predictor'
        )
    needed = ("pred_boxes", "pred_classes", "heatmaps")
    missing = [name for name in needed if not instances.has(name)]
    if missing:
        raise ValueError(
            f"`instances` must have {', '.join(needed)}; got only {sorted(instances.get_fields())}: take them from "
            "OdamPredictor or from an explainer"
        )


def _chosen(heatmaps: HeatMaps, attributes: Sequence[str] | None) -> tuple[str, ...]:
    """The attributes to show, checked."""
    chosen = heatmaps.names if attributes is None else attributes
    chosen = (chosen,) if isinstance(chosen, str) else tuple(dict.fromkeys(chosen))
    unknown = [name for name in chosen if name not in heatmaps.names]
    if unknown or not chosen:
        raise ValueError(
            f"`attributes` must be among {list(heatmaps.names)}; got {list(chosen)}: choose of these, or name others "
            "when the explainer is built"
        )
    return chosen
