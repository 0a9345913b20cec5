"""Score threshold and number of detections of a detector that is built already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from detectron2.structures import Instances
from torch import nn

from ..utils.untyped import UntypedModule

# Attributes of Detectron2's heads and of those derived from them.
_THRESHOLD = "test_score_thresh"
_THRESHOLD_OF_QUERIES = "score_threshold"  # of OdamDETR
_NUMBERS = ("test_topk_per_image", "max_detections_per_image")


def limit_detector(model: nn.Module, score_threshold: float | None, max_detections: int | None) -> None:
    """Sets the threshold and the number of detections in the heads that have them.

    Args:
        model: the detector; changed in place.
        score_threshold: lowest score of a detection, in [0, 1]; None to leave it.
        max_detections: most detections of an image, where the detector's own limit isn't lower; None to leave it.
    """
    heads: list[UntypedModule] = _limited_modules(model)
    for head in heads:
        if score_threshold is not None:
            head.test_score_thresh = score_threshold
        for name in _NUMBERS:
            if max_detections is not None and hasattr(head, name):
                own = getattr(head, name)
                setattr(head, name, max_detections if own < 0 else min(own, max_detections))
    limit_outputs(model, score_threshold, max_detections)


def most_detections(model: nn.Module) -> int | None:
    """The least of the numbers that the heads have; None where they have none."""
    found = [getattr(head, name) for head in _limited_modules(model) for name in _NUMBERS if hasattr(head, name)]
    return min((number for number in found if number >= 0), default=None)


def limit_outputs(model: nn.Module, score_threshold: float | None, max_detections: int | None) -> None:
    """Cuts what a detector says where none of its heads knows a score threshold: a project's own.

    Args:
        model: gets a forward hook there; others stay as they are.
        score_threshold: see :func:`limit_detector`, as the next.
        max_detections: see there.
    """
    if _limited_modules(model) or hasattr(model, "trace") or (score_threshold is None and max_detections is None):
        return

    def cut(module: nn.Module, args: Any, outputs: Any) -> Any:
        if module.training or not isinstance(outputs, list):
            return outputs
        return [
            {**one, "instances": _best(one["instances"], score_threshold, max_detections)}
            if isinstance(one, dict) and isinstance(one.get("instances"), Instances) and one["instances"].has("scores")
            else one
            for one in outputs
        ]

    model.register_forward_hook(cut)


def _limited_modules(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if hasattr(module, _THRESHOLD)]


def _best(found: Instances, score_threshold: float | None, max_detections: int | None) -> Instances:
    if score_threshold is not None:
        found = found[found.scores >= score_threshold]
    if max_detections is not None and len(found) > max_detections:
        order = found.scores.sort(descending=True, stable=True).indices
        found = found[order[:max_detections].sort().values]
    return found


@contextmanager
def detecting_from(model: nn.Module, score_threshold: float) -> Iterator[None]:
    """Lets a detector find nothing below a score inside the block; afterwards its thresholds are as before.

    Where none of its parts knows a score threshold, it finds what it always does.

    Args:
        model: the detector.
        score_threshold: lowest score of a detection, in [0, 1].
    """
    found = [
        (module, name, getattr(module, name))
        for module in model.modules()
        for name in (_THRESHOLD, _THRESHOLD_OF_QUERIES)
        if isinstance(getattr(module, name, None), float | int)
    ]
    try:
        for module, name, _ in found:
            setattr(module, name, score_threshold)
        yield
    finally:
        for module, name, before in found:
            setattr(module, name, before)
