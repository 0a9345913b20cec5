"""Any other detector: a module, how to ask it for boxes, and the layers to explain on.

Shape letters: N images, R predictions of an image, L layers, C channels, (H, W) the grid of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from detectron2.structures import Instances
from torch import Tensor, nn

from ..explain.engines.autograd import the_one_map
from ..modeling.callable import (
    FRAMES,
    Prediction,
    best_predictions,
    layers_with_strides,
    predicted_results,
    read_predictions,
)
from ..modeling.graph_cut import reached
from ..modeling.leaves import Leaves
from ..modeling.overheard import Call
from ..structures import Predictions
from .graph import GraphDetector
from .own_graph import as_results


class CallableDetector(GraphDetector):
    """Makes a detector that this project does not know explainable, by plain autograd on one or several of its layers.

    ``predict(batched_inputs)`` runs the detector on Detectron2's input, dicts with ``image`` (3, H, W) and, for the
    original size, ``height`` and ``width``, and returns for each image a mapping of tensors with a graph: ``boxes``
    (R, 4) XYXY, ``scores`` (R,), ``classes`` (R,) integers and, with ``logits=True``, ``logits`` (R,). Thresholds and
    non-max suppression choose rows and are no hindrance; ``no_grad``, ``detach`` and numpy are. Sides that `predict`
    clips to the image have no gradient where they are clipped.

    With several layers, such as the levels of a feature pyramid, each prediction is explained on those that it depends
    on: on one, or on several, whose maps are added in the frame of the image. The detector runs once for detection and
    explanation. Where one layer lies behind another, the way through the second counts for the second alone.

    Args:
        model: holds the layers.
        predict: see above; default the module's own ``forward``.
        layer: path in `model` of a module that runs once a call and gives one (N, C, H, W) map, which everything that
            is to be explained passes through; where there are several, `layers`.
        stride: pixels of ``image`` per cell of this map. For a detector that resizes inside, these are pixels *before*
            that: a map of stride 16 behind an image halved has stride 32.
        layers: paths of several such modules, in place of `layer`; together they are what everything passes through.
        strides: of these, in their order, in place of `stride`.
        frame: what ``boxes`` are in: ``input``, pixels of ``image``, or ``original``, pixels of an image of ``height``
            x ``width``.
        logits: whether `predict` gives ``logits``; without, the attribute ``logit`` is not there.
        min_iou: a given box is explained through the prediction of its class that it overlaps most, by at least this.
        num_classes: how many classes the detector tells apart, numbered from 0; None where nobody needs to know. What
            reads annotations does (:mod:`odam_d2.evaluation`, ``odam evaluate``).

    Raises:
        ValueError: if an argument is not usable.

    Attributes:
        test_score_thresh: of what `predict` gives, only what has at least this score is a detection.
        max_detections_per_image: and only the best so many; below 0 for all. The commands set both.
    """

    heard = ()
    layers: dict[str, float]

    def __init__(
        self,
        model: nn.Module,
        predict: Callable[[list[dict]], Sequence[Prediction]] | None = None,
        *,
        layer: str | None = None,
        stride: float | None = None,
        layers: Sequence[str] | None = None,
        strides: Sequence[float] | None = None,
        frame: str,
        logits: bool = False,
        min_iou: float = 0.5,
        num_classes: int | None = None,
    ):
        if frame not in FRAMES:
            raise ValueError(f"`frame` must be one of {FRAMES}; got {frame!r}: say which pixels `predict` counts in")
        super().__init__(model, layers_with_strides(layer, stride, layers, strides), min_iou)
        self._asked = predict
        self.frame = frame
        self.keys = ("boxes", "scores", "classes", *(("logits",) if logits else ()))
        self.missing_attributes = () if logits else ("logit",)
        self.refused_attributes = {} if logits else {"logit": "`predict` gives no logits, or logits=True is not said"}
        if num_classes is not None:
            self.num_classes = num_classes
        self.test_score_thresh = float("-inf")
        self.max_detections_per_image = -1

    def ask(self, batched_inputs: list[dict]) -> list[dict[str, Tensor]]:
        """What the detector says of N images, checked and limited."""
        found = read_predictions((self._asked or self.model)(batched_inputs), self.keys, len(batched_inputs))
        return [best_predictions(one, self.test_score_thresh, self.max_detections_per_image) for one in found]

    def forward(self, batched_inputs: list[dict]) -> list[dict]:
        """Detects as Detectron2's detectors do: N dicts ``{"instances": Instances}`` in the original frame."""
        with torch.no_grad():
            found = self.read(self.ask(batched_inputs), batched_inputs)
        return [{"instances": one} for one in as_results(found)]

    def detect(self, batched_inputs: list[dict]) -> tuple[list[dict[str, Tensor]], Mapping[str, list[Call]]]:
        """See :meth:`GraphDetector.detect`; nothing is overheard."""
        return self.ask(batched_inputs), {}

    def read(self, outputs: Any, batched_inputs: list[dict]) -> list[Instances]:
        """See :meth:`GraphDetector.read`."""
        return predicted_results(outputs, self.frame, *_sizes(batched_inputs))

    def read_others(self, outputs: Any, num_images: int) -> list[dict[str, Any]]:
        """See :meth:`GraphDetector.read_others`: `predict` says nothing else."""
        return [{} for _ in range(num_images)]

    def check_leaves(self, kept: Leaves, sources: Mapping[str, Any]) -> None:
        """Raises ValueError where a layer did not give one map of the N images."""
        for path in sources:
            the_one_map(kept.given.get(path, []), path, kept.num_images)

    def input_sizes(
        self, batched_inputs: list[dict], heard: Mapping[str, list[Call]], kept: Leaves
    ) -> tuple[list[tuple[int, int]], tuple[int, int]]:
        """See :meth:`GraphDetector.input_sizes`; strides count pixels of ``image``, whatever the network sees.

        Raises:
            ValueError: if a layer's map does not cover the image with its stride.
        """
        del heard
        sizes, _ = _sizes(batched_inputs)
        covered = [0.0, 0.0]
        for path, leaf in kept.maps.items():
            stride = self.layers[path]
            for axis, cells in enumerate(leaf.shape[-2:]):
                largest = max(size[axis] for size in sizes)
                if cells * stride <= largest - stride:
                    raise ValueError(
                        f"`stride` of layer {path!r} must let its map cover the image; got {stride:g}, with which "
                        f"{cells} cells along {'yx'[axis]} cover {cells * stride:g} of {largest} pixels: count pixels "
                        "of `image`, before `predict` resizes it"
                    )
                covered[axis] = max(covered[axis], cells * stride)
        return sizes, (round(covered[0]), round(covered[1]))

    def why_cut(
        self, name: str, predictions: Predictions, maps: Mapping[str, Tensor], batched_inputs: list[dict]
    ) -> str:
        """See :meth:`GraphDetector.why_cut`."""
        layers = " and ".join(map(repr, self.layers))
        if not getattr(predictions, name).requires_grad:
            return (
                f"{name!r} of `predict` must have a graph back to layer {layers}; got a tensor without one: leave "
                "no_grad, detach and numpy out of `predict`, or name a layer that lies before it"
            )
        said = {"score": predictions.scores, "box": predictions.boxes, "logit": predictions.logits}
        nothing = " and ".join(
            f"no {one}" for one, values in said.items() if values.requires_grad and not reached([values], maps)
        )
        return (
            f"`layer` must lie between image and predictions; got {layers}, on which {nothing} depends: name another, "
            "nearer to the image"
        )

    def _refuse_another_layer(self) -> dict[str, Tensor]:
        """Stands where other detectors run their backbone again: what lies beside the layers is not known here."""
        raise ValueError(
            f"`layer` of the explainer must be None for a CallableDetector; it explains on "
            f"{', '.join(map(repr, self.layers))}: name others, with their strides, when you make the CallableDetector"
        )


def _sizes(batched_inputs: list[dict]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(h, w) of each image, as given and as original."""
    inputs = [(int(x["image"].shape[-2]), int(x["image"].shape[-1])) for x in batched_inputs]
    outputs = [
        (int(x.get("height", size[0])), int(x.get("width", size[1])))
        for x, size in zip(batched_inputs, inputs, strict=True)
    ]
    return inputs, outputs
