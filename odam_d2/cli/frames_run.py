"""What explains the frames of a video or of a camera, built from the command line."""

from functools import cached_property
from typing import Any

import numpy as np
from detectron2.structures import Instances

from .explain_run import ExplainRun
from .image_explainer import explained_detections


class FramesRun(ExplainRun):
    """A run on moving images: one map of each detection, unless others are asked for."""

    def _options(self) -> dict[str, Any]:
        options = super()._options()
        if self.args.attributes is None and options.get("attributes"):
            options["attributes"] = tuple(options["attributes"])[:1]
        return options

    @cached_property
    def attribute(self) -> str:
        """The map that is drawn."""
        return self.explainer.attributes[0]

    @property
    def every(self) -> int:
        """Every how many frames one is explained."""
        return self.args.every or 1

    def explain(self, image: np.ndarray) -> Instances:
        """The detections in a frame, (h, w, 3) uint8 BGR, with their maps, on the CPU."""
        return explained_detections(self.explainer, self._make_input(image), self.args)

    @cached_property
    def _make_input(self) -> Any:
        return self.config.make_input()
