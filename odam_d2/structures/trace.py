"""What a detector remembers of its detections, so that they can be explained.

Shape letters: D detections over the whole batch, N images, S sources of a detection, C channels, (H, W) the grid of a
feature level, (h, w) an image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor


@dataclass
class Predictions:
    """What a detector says of D instances, as differentiable tensors.

    Attributes:
        scores: (D,) the confidence that is reported, in [0, 1].
        logits: (D,) the raw logit of each instance's class.
        boxes: (D, 4) decoded XYXY boxes in model-input pixels, *not* clipped to the image (a clip kills gradients).
        extras: further scalars of the family by attribute name, (D,) each, e.g. ``centerness``, or, where they cost
            something of their own, what computes them, e.g. ``mask``.
        class_scores: (D, K or more) scores of all classes, where they come beside the one that is reported.
    """

    scores: Tensor
    logits: Tensor
    boxes: Tensor
    extras: dict[str, Tensor | Callable[[], Tensor]] = field(default_factory=dict)
    class_scores: Tensor | None = None


class TracedHead(Protocol):
    """The part of a detector behind its features, able to say again what it said of the traced instances.

    A head may have ``class_vectors(trace)`` besides: (D, K) scores of all K classes for the traced instances, without a
    graph. Where there is none, D-RISE compares the detected classes alone.
    """

    def predict(self, features: Mapping[str, Tensor], trace: DetectionTrace) -> Predictions:
        """Predictions for all D instances of `trace` from (N, C, H, W) features, with a graph where they have one."""
        ...


@dataclass
class DetectionTrace:
    """What a forward pass leaves behind: features, and for each detection where it came from.

    The D rows run through the images of the batch in their order, and within an image in the order of its results.

    Attributes:
        instances: N results in the original frame, as the stock detector returns them.
        features: level name -> (N, C, H, W), detached.
        strides: level name -> model-input pixels per cell.
        image_index: (D,) int64, the image of each detection.
        level_index: (D, S) int64, positions in `level_names` of the levels that each detection came from: one for
            each of its S sources, of which most detectors have one (a cascade has its three stages); -1 where only the
            gradient can tell.
        references: (D, 4) XYXY boxes in model-input pixels that the predictions started from: RoIs of a two-stage
            detector, anchors of a dense one.
        boxes: (D, 4) XYXY boxes in model-input pixels that were detected or given.
        rows: (D,) int64, which of the image's proposals, or of its level's anchors, each detection is; -1 for boxes
            given to a two-stage detector.
        classes: (D,) int64.
        level_names: the levels that detections can come from.
        image_sizes: N times (h, w) of the model input without padding.
        padded_size: (h, w) of the batch with padding.
        output_sizes: N times (h, w) of the original image.
        head: re-computes the predictions of these detections, with a graph back to the features.
        compute_features: runs the backbone again and returns its features, with a graph if gradients are on.
        reported: whether `head` computes the scores in `instances`; False where the boxes were pooled once
            more, or where scores decayed.
        sources: attribute -> which of the S sources it depends on, for those that don't depend on all of them.
        others: N dicts of what the detector gives beside its instances, e.g. ``sem_seg``; empty where there is nothing.
    """

    instances: list[Any]
    features: dict[str, Tensor]
    strides: dict[str, float]
    image_index: Tensor
    level_index: Tensor
    references: Tensor
    boxes: Tensor
    rows: Tensor
    classes: Tensor
    level_names: tuple[str, ...]
    image_sizes: list[tuple[int, int]]
    padded_size: tuple[int, int]
    output_sizes: list[tuple[int, int]]
    head: TracedHead
    compute_features: Callable[[], dict[str, Tensor]]
    sources: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    reported: bool = True
    others: list[dict[str, Any]] = field(default_factory=list)

    def sources_of(self, attribute: str) -> tuple[int, ...]:
        """The sources that an attribute depends on, 0 .. S - 1."""
        return self.sources.get(attribute, tuple(range(self.level_index.shape[1])))

    def __len__(self) -> int:
        return len(self.image_index)
