"""What the server works with: a run, detectors, images, answers, and the queue before the detectors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data.images import read_image_bgr
from ..visualize.overlay import COLORMAP, OPAQUE_FROM, color_table
from ..visualize.pages import base64_text
from .answers import Answers
from .asks import ASKS, Question
from .detector import ServedDetector
from .found import FoundBefore
from .held_images import HeldImage, HeldImages
from .limits import ServeLimits
from .model_queue import ModelQueue
from .refusals import RefusedError
from .requests import OfImage
from .run_view import RunView

COLORMAPS = (COLORMAP, "inferno", "viridis")


class Workbench:
    """All that requests share.

    Args:
        run: a run; None for none.
        detectors: what can be asked.
        limits: what is taken in.
        samples: files of demonstration images.
        title: of the page.
    """

    def __init__(
        self,
        run: RunView | None = None,
        detectors: Sequence[ServedDetector] = (),
        limits: ServeLimits | None = None,
        samples: Sequence[Path] = (),
        title: str = "ODAM workbench",
    ):
        self.limits = limits or ServeLimits()
        self.run, self.title = run, title
        self.detectors = {one.name: one for one in detectors}
        self.images = HeldImages(self.limits)
        self.answers, self.before = Answers(self.limits.results), FoundBefore()
        self.queue = ModelQueue(self.limits.waiting)
        self.samples = [self.images.pin(HeldImage.of_pixels(path.name, read_image_bgr(path))) for path in samples]
        self._detectors = [one.about() for one in detectors]

    def close(self) -> None:
        """Ends what is being done, and closes the run."""
        self.queue.close()
        if self.run is not None:
            self.run.close()

    def about(self) -> dict[str, Any]:
        """What the page is told at first."""
        return {
            "title": self.title,
            "run": None if self.run is None else self.run.about(),
            "detectors": self._detectors,
            "luts": {name: base64_text(color_table(name).tobytes()) for name in COLORMAPS},
            "opaque_from": OPAQUE_FROM,
            "limits": {"bytes": self.limits.image_bytes, "pixels": self.limits.pixels},
            "samples": [{"name": one.name, **one.told()} for one in self.samples],
        }

    def require_run(self) -> RunView:
        """The run; raises RefusedError with 404 if the server has none."""
        if self.run is None:
            raise RefusedError(404, "the server shows no run: start it with the folder of one")
        return self.run

    def require_detector(self, name: str) -> ServedDetector:
        """A detector; raises RefusedError with 404 if there is none of the name."""
        if name not in self.detectors:
            raise RefusedError(
                404, f"`detector` must be one of {list(self.detectors)}; got {name[:80]!r}: choose one of these"
                if self.detectors else "the server has no detector: start it with --config-file"
            )  # fmt: skip
        return self.detectors[name]

    def require_mean_pixel(self, name: str | None) -> tuple[int, int, int]:
        """The colour that a detector takes for the mean, RGB in [0, 255].

        Raises:
            RefusedError: with 404 if there is no such detector, 422 if none is named or it has no such colour.
        """
        if name is None:
            raise RefusedError(422, "`detector` must name whose mean pixel fills a stroke; got none: name one")
        mean = self.require_detector(name).mean_pixel
        if mean is None:
            raise RefusedError(422, f"{name!r} tells no mean pixel of its images: fill with the colour around")
        return mean

    def question(self, asked: OfImage) -> Question:
        """What a body asks, checked.

        Raises:
            RefusedError: if it can't be answered.
        """
        detector, kind = self.require_detector(asked.detector), ASKS[asked.ask]  # type: ignore[attr-defined]
        return kind(asked, detector, self.images.find(asked.image), self.answers, self.before)
