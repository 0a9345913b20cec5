"""A detector as the workbench asks it.

Shape letters: R boxes of one image, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from ..analysis.misses import MissFinder, MissRules, Replayed
from ..analysis.misses.choice import Suppression
from ..data.inputs import shown
from ..explain import METHODS
from ..loading import DetectorConfig
from ..loading.limits import detecting_from
from ..modeling.num_classes import count_classes
from ..structures import COMBINED_PARTS
from ..utils.threads import model_lock
from ..visualize.storage import class_name
from .ranked import CLASS_SCORES, RankedExplainer
from .refusals import RefusedError

FITS = 0.5  # IoU from which on a box is at a place
_BEST = 3  # classes that are told of a detection
_PROBE = (96, 128)  # pixels of the grey image that shows at the start what the detector can do


@dataclass(frozen=True)
class Abilities:
    """What can be asked of a detector.

    Attributes:
        misses: why an object is not found.
        odam_nms: what non-max suppression and Odam-NMS remove.
    """

    misses: bool
    odam_nms: bool


class ServedDetector:
    """A detector with its weights, and what explains it. One thread at a time may ask it.

    Args:
        name: what it is called.
        config: as the commands read it.
        attributes: what is explained; None for ``ODAM.ATTRIBUTES``.

    Raises:
        ValueError: if it can't be built, or its weights don't fit.
    """

    def __init__(self, name: str, config: DetectorConfig, attributes: Sequence[str] | None = None):
        self.name, self.config, self._attributes = name, config, attributes
        self.model = config.build()
        config.load_weights(self.model)
        self.make_input = config.make_input()
        known = config.class_names(self.model) or ()
        number = count_classes(self.model) or len(known)
        self.class_names = tuple(class_name(label, known) for label in range(number))
        self._explainers: dict[str, RankedExplainer] = {}
        # The config's own method must work; of the others those that can explain it are offered.
        self.method = config.explainer_options()["method"]
        self.explainer(self.method)
        self.methods = [self.method] + [name for name in sorted(METHODS) if name != self.method and self._can(name)]

    def _can(self, method: str) -> bool:
        try:
            self.explainer(method)
        except (ValueError, TypeError):
            return False
        return True

    def explainer(self, method: str) -> RankedExplainer:
        """What explains by a method.

        Raises:
            RefusedError: with 422 if there is no such method.
            ValueError: if the method can't explain the detector.
        """
        if method not in METHODS:
            raise RefusedError(422, f"`method` must be one of {sorted(METHODS)}; got {method[:60]!r}: choose another")
        if method not in self._explainers:
            options = self.config.explainer_options(method=method)
            if self._attributes is not None:
                limit = METHODS[method].explains
                options["attributes"] = tuple(name for name in self._attributes if limit is None or name in limit)
            if METHODS[method].slow:
                options["progress"] = False
            self._explainers[method] = RankedExplainer(self.config.explainer(self.model, **options))
        return self._explainers[method]

    def require_method(self, method: str) -> None:
        """Raises RefusedError with 422 where the detector can't be explained by a method."""
        if method not in self.methods:
            raise RefusedError(
                422, f"`method` must be one that explains {self.name!r}, {self.methods}; got {method[:60]!r}"
            )

    def number_of(self, label: str) -> int:
        """The detector's number of a class; raises RefusedError with 422 where it has no such class."""
        if label not in self.class_names:
            raise RefusedError(422, f"`label` must be a class of {self.name!r}; got {label[:60]!r}: choose one of its")
        return self.class_names.index(label)

    def detect(self, pixels: np.ndarray, method: str, threshold: float) -> Instances:
        """Detections with their maps.

        Args:
            pixels: (h, w, 3) uint8, BGR.
            method: see :meth:`explainer`.
            threshold: lowest score, in [0, 1].

        Returns:
            R Instances on the CPU, in the image's frame, with ``heatmaps`` and, where they are known, ``class_scores``.
        """
        with detecting_from(self.model, threshold):
            (result,) = self.explainer(method)([self.make_input(pixels)], None)
        found = result["instances"]
        return found[found.scores >= threshold].to("cpu")

    def explain(self, pixels: np.ndarray, boxes: Sequence[Sequence[float]], labels: Sequence[int], method: str):
        """Given boxes with their maps; see :meth:`detect`.

        Raises:
            UnreachedBoxError: if no prediction of the detector stands for one of them.
        """
        given = Instances(pixels.shape[:2])
        given.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).view(-1, 4))
        given.pred_classes = torch.tensor(labels, dtype=torch.int64)
        (result,) = self.explainer(method)([self.make_input(pixels)], [given])
        return result["instances"].to("cpu")

    def scores_at(self, pixels: np.ndarray, box: Sequence[float]) -> Tensor:
        """(K,) the scores of all classes on a given box.

        Raises:
            UnreachedBoxError: if no prediction of the detector stands for it.
        """
        number, model = len(self.class_names), self.explainer(self.method).model
        every = Instances(pixels.shape[:2], pred_classes=torch.arange(number))
        every.pred_boxes = Boxes(torch.tensor([list(box)] * number))
        with torch.no_grad(), model_lock(model):
            return model.trace([self.make_input(pixels)], [every]).instances[0].scores.cpu()

    def finder(self, threshold: float) -> MissFinder:
        """What tells why boxes are not detected with a score of `threshold` or more."""
        rules = MissRules(FITS, score_threshold=threshold)
        return MissFinder(self.model, rules, self.class_names, explainer=self._alike)

    @cached_property
    def _alike(self):
        return self.config.explainer(self.model, method="odam", attributes=("score",))

    def replay(self, pixels: np.ndarray) -> Replayed:
        """One run of the detector that keeps what became of every candidate."""
        return self.finder(0.0).replay([self.make_input(pixels)])

    @cached_property
    def mean_pixel(self) -> tuple[int, int, int] | None:
        """The colour that the detector subtracts from images, RGB in [0, 255]; None where the model has none."""
        mean, input_format = getattr(self.model, "pixel_mean", None), getattr(self.make_input, "input_format", None)
        if not isinstance(mean, Tensor) or input_format is None:
            return None
        mean = mean.detach().cpu().view(-1, 1, 1)
        mean = mean if input_format.startswith("YUV") else mean.round()  # YUV is told in fractions
        red, green, blue = shown(mean, input_format).reshape(3).tolist()
        return red, green, blue

    @cached_property
    def abilities(self) -> Abilities:
        """What can be asked of it; a small image shows it."""
        replayed = self.replay(np.full((*_PROBE, 3), 128, np.uint8))
        candidates = replayed.images[0].candidates
        if candidates is None:
            return Abilities(False, False)
        suppresses = any(isinstance(stage, Suppression) for stage in candidates.choice)
        return Abilities(True, suppresses and replayed.trace_of is not None)

    def best_classes(self, found: Instances) -> list[list[dict]]:
        """Of each of R boxes the best classes with their scores; empty where they aren't known."""
        if not found.has(CLASS_SCORES):
            return [[] for _ in range(len(found))]
        scores = found.get(CLASS_SCORES)
        best = scores.topk(min(_BEST, scores.shape[1]), 1)
        return [
            [{"label": self.class_names[label], "score": round(score, 6)} for label, score in zip(*one, strict=True)]
            for one in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def about(self) -> dict:
        """What the page is told of it."""
        attributes = list(self.explainer(self.method).attributes)
        combined = set(COMBINED_PARTS) <= set(attributes)
        return {
            "name": self.name,
            "classes": list(self.class_names),
            "methods": [{"name": name, "slow": METHODS[name].slow} for name in self.methods],
            "attributes": attributes + ["combined"] * combined,
            "combined": list(COMBINED_PARTS) if combined else None,
            "threshold": 0.5,
            "misses": self.abilities.misses,
            "odam_nms": self.abilities.odam_nms,
            "mean": self.mean_pixel,
            "architecture": self.config.architecture,
            "device": self.config.device,
        }
