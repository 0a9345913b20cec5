"""A widget in a notebook that answers questions: draw a box, choose a class, get the score and the maps.

It speaks to Python through the notebook's kernel (anywidget): no server, no port, and it works wherever the notebook
does. Answers are drawn by the page that :func:`odam_d2.visualize.show` draws, in a frame of its own. This module needs
anywidget; :meth:`odam_d2.OdamPredictor.explore` says so where it is missing.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import anywidget
import numpy as np
import traitlets
from detectron2.structures import Instances

from ..data.images import ImageLike, to_bgr
from ..utils.words import visible
from .pages import TEMPLATES, jpeg_uri
from .show import Explanation, show

_SIDE, _QUALITY = 1280, 85  # of the image to draw boxes on
# (image, boxes, classes) -> {"instances": Instances}
Predict = Callable[..., dict[str, Instances]]


class Explorer(anywidget.AnyWidget):
    """An image to ask about, as notebooks draw it; made by :meth:`odam_d2.OdamPredictor.explore`.

    Where nothing runs (a static converter, a notebook that was saved), the latest answer is drawn as
    :func:`odam_d2.visualize.show` draws it.

    Messages from the browser: ``{"ask": "box", "id": number, "box": [x1, y1, x2, y2], "label": class}``, in pixels of
    the original image, or ``{"ask": "detections", "id": number}``. Each is answered by ``{"id", "words"}``, with
    ``score`` and ``label`` for a box, or by ``{"id", "error"}``, a sentence; the page with the maps is a trait.

    Args:
        predict: an :class:`odam_d2.OdamPredictor`, or what can be called as one.
        image: (h, w, 3) uint8 **BGR** as ``cv2.imread`` gives it, a path, or a Pillow image.
        labels: the detector's class names, by number.
        rgb: whether an array is RGB.
        height: of the frame with the answer, in pixels; default by the image's shape.

    Attributes:
        answer: the latest answer, an :class:`~odam_d2.visualize.show.Explanation`, which can be saved.
        instances: those of the latest answer, with ``scores`` and ``heatmaps``.

    Raises:
        ValueError: if the image can't be read, or the detector has no names of classes.
    """

    _esm = (TEMPLATES / "explore.js").read_text(encoding="utf-8")
    _css = (TEMPLATES / "explore.css").read_text(encoding="utf-8")
    photo = traitlets.Unicode().tag(sync=True)
    size = traitlets.List(traitlets.Int()).tag(sync=True)
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    page = traitlets.Unicode().tag(sync=True)
    words = traitlets.Unicode().tag(sync=True)
    asked = traitlets.Dict().tag(sync=True)
    frame_height = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        predict: Predict,
        image: ImageLike,
        labels: Sequence[str],
        *,
        rgb: bool = False,
        height: int | None = None,
    ):
        if not labels:
            raise ValueError("`labels` must name the detector's classes; got none: give class_names to OdamPredictor")
        super().__init__()
        self._predict, self._height = predict, height
        self._pixels = np.ascontiguousarray(to_bgr(image, rgb))
        self._names = list(labels)
        self.labels = [visible(name) for name in labels]
        self.size = [self._pixels.shape[1], self._pixels.shape[0]]
        self.photo = jpeg_uri(np.ascontiguousarray(self._pixels[:, :, ::-1]), _SIDE, _QUALITY)
        self.answer: Explanation
        self.instances: Instances
        self.detections()
        self.on_msg(self._take)

    def ask(self, box: Sequence[float], label: str) -> Instances:
        """Asks about a box, as drawing it does.

        Args:
            box: XYXY in the original image's pixels.
            label: name of a class.

        Returns:
            The box with its ``scores`` and ``heatmaps``.

        Raises:
            ValueError: if there is no such class, or the box can't be explained.
        """
        corners = _corners(box)
        instances = self._predict(self._pixels, boxes=[corners], classes=[label])["instances"]
        score = float(instances.scores[0])
        sides = ", ".join(f"{side:g}" for side in corners)
        self.asked = {"box": corners, "label": visible(label)}
        self._show(instances, f"{label}: {score:.3f} for the box {sides}")
        return instances

    def detections(self) -> Instances:
        """Shows what the detector finds by itself, and returns it."""
        instances = self._predict(self._pixels)["instances"]
        self.asked, number = {}, len(instances)
        self._show(instances, f"{number} detection{'' if number == 1 else 's'}; draw a box to ask about it")
        return instances

    def _show(self, instances: Instances, words: str) -> None:
        self.instances = instances
        self.answer = show(self._pixels, instances, self._names, title="Explored image", height=self._height)
        self.frame_height = self.answer.frame_height
        self.page, self.words = self.answer.page(), visible(words)

    def _take(self, _: Any, message: Any, __: Any) -> None:
        """Answers a message of the browser."""
        number = message.get("id") if isinstance(message, dict) else None
        try:
            self.send({"id": number, **self._answered(message)})
        # Whatever goes wrong belongs to who asked: an error in a callback isn't shown by notebooks.
        except Exception as error:
            self.send({"id": number, "error": visible(str(error) or type(error).__name__)})

    def _answered(self, message: Any) -> dict[str, Any]:
        asked = message.get("ask") if isinstance(message, dict) else None
        if asked == "detections":
            self.detections()
            return {"words": self.words}
        if asked == "box":
            label = message.get("label")
            # The browser has names as they can be shown.
            known = label in self.labels
            instances = self.ask(message.get("box"), self._names[self.labels.index(label)] if known else str(label))
            return {"words": self.words, "label": label, "score": float(instances.scores[0])}
        raise ValueError(f"`ask` must be 'box' or 'detections'; got {asked!r}: reload the notebook's page")

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The widget, and beside it the latest answer as a page and as a still image, for where nothing runs."""
        bundle = super()._repr_mimebundle_(**options)
        data, about = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        still = {"text/html": self.answer._repr_html_(), "image/png": self.answer._repr_png_()}
        return {**data, **still, "text/plain": repr(self.answer)}, about


def _corners(box: Any) -> list[float]:
    try:
        corners = [float(side) for side in box]
    except (TypeError, ValueError):
        corners = []
    if (
        len(corners) != 4
        or not all(map(math.isfinite, corners))
        or corners[2] <= corners[0]
        or corners[3] <= corners[1]
    ):
        raise ValueError(f"`box` must be x1, y1, x2, y2 with x1 < x2 and y1 < y2; got {box!r}: draw it anew")
    return corners
