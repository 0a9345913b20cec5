"""Any other detector: a module, how to ask it for boxes, and the layer to explain on.

Shape letters: D detections over the batch, N images, R predictions of an image, C channels, (H, W) the grid of the
layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from detectron2.structures import Instances
from torch import Tensor, nn

from ..explain.engines.autograd import find_layer, the_one_map
from ..modeling.callable import FRAMES, Prediction, fitting_predictions, predicted_results, read_predictions
from ..modeling.provenance import given_boxes, given_results, image_index_of, input_frame_boxes, write_scores
from ..structures import DetectionTrace, Predictions
from ..utils.threads import in_this_thread


class CallableDetector(nn.Module):
    """Makes a detector that this project does not know explainable, by plain autograd on one of its layers.

    ``predict(batched_inputs)`` runs the detector on Detectron2's input, dicts with ``image`` (3, H, W) and, for the
    original size, ``height`` and ``width``, and returns for each image a mapping of tensors with a graph: ``boxes``
    (R, 4) XYXY, ``scores`` (R,), ``classes`` (R,) integers and, with ``logits=True``, ``logits`` (R,). Thresholds and
    non-max suppression choose rows and are no hindrance; ``no_grad``, ``detach`` and numpy are. Sides that `predict`
    clips to the image have no gradient where they are clipped.

    Args:
        model: holds the layer.
        predict: see above; default the module's own ``forward``.
        layer: path in `model` of a module that runs once a call and gives one (N, C, H, W) map, which everything that
            is to be explained passes through.
        stride: pixels of ``image`` per cell of this map. For a detector that resizes inside, these are pixels *before*
            that: a map of stride 16 behind an image halved has stride 32.
        frame: what ``boxes`` are in: ``input``, pixels of ``image``, or ``original``, pixels of an image of ``height``
            x ``width``.
        logits: whether `predict` gives ``logits``; without, the attribute ``logit`` is not there.
        min_iou: a given box is explained through the prediction of its class that it overlaps most, by at least this.

    Raises:
        ValueError: if an argument is not usable.
    """

    default_engine = "autograd"

    def __init__(
        self,
        model: nn.Module,
        predict: Callable[[list[dict]], Sequence[Prediction]] | None = None,
        *,
        layer: str,
        stride: float,
        frame: str,
        logits: bool = False,
        min_iou: float = 0.5,
    ):
        super().__init__()
        if frame not in FRAMES:
            raise ValueError(f"`frame` must be one of {FRAMES}; got {frame!r}: say which pixels `predict` counts in")
        if not 0 < stride < float("inf"):
            raise ValueError(f"`stride` must be a number > 0; got {stride}: give pixels of `image` per cell of the map")
        if not 0 < min_iou <= 1:
            raise ValueError(f"`min_iou` must be in (0, 1]; got {min_iou}: 0.5 is usual")
        find_layer(model, layer)
        self.model = model
        self._asked = predict
        self.layer = layer
        self.stride = float(stride)
        self.frame = frame
        self.keys = ("boxes", "scores", "classes", *(("logits",) if logits else ()))
        self.min_iou = min_iou

    @property
    def missing_attributes(self) -> tuple[str, ...]:
        """What other detectors can be asked for, and this one can't."""
        return () if "logits" in self.keys else ("logit",)

    def ask(self, batched_inputs: list[dict]) -> list[dict[str, Tensor]]:
        """What the detector says of N images, checked."""
        found = (self._asked or self.model)(batched_inputs)
        return read_predictions(found, self.keys, len(batched_inputs))

    def forward(self, batched_inputs: list[dict]) -> list[dict]:
        """Detects as Detectron2's detectors do: N dicts ``{"instances": Instances}`` in the original frame."""
        with torch.no_grad():
            found = self.ask(batched_inputs)
        results = predicted_results(found, self.frame, *_sizes(batched_inputs))
        return [{"instances": result} for result in results]

    def trace(self, batched_inputs: list[dict], instances: list[Instances] | None = None) -> DetectionTrace:
        """Detects, or finds the predictions for the boxes that the caller gives, and keeps what an explanation needs.

        Args:
            batched_inputs: what `predict` takes.
            instances: boxes and classes to explain in place of the detections, in the original frame; see
                :func:`odam_d2.modeling.provenance.given_boxes`. Results name the predictions that they are explained
                through in ``prediction_index`` and ``prediction_boxes`` (original frame).

        Returns:
            The trace; its one level is the layer.

        Raises:
            ValueError: if the layer's output or what `predict` returns is not as promised, the given boxes are not
                usable, or no prediction fits one.
            RuntimeError: if the detector is in training mode.
        """
        if self.training:
            raise RuntimeError("the detector must be in eval mode to be traced; got training mode: call model.eval()")
        with torch.no_grad(), self.at_layer() as outputs:
            found = self.ask(batched_inputs)
        features = the_one_map(outputs, self.layer, len(batched_inputs))
        image_sizes, output_sizes = _sizes(batched_inputs)
        self._check_stride(features, image_sizes)
        results = predicted_results(found, self.frame, image_sizes, output_sizes)
        if instances is None:
            rows = [torch.arange(len(result), device=features.device) for result in results]
        else:
            _, labels = given_boxes(instances, image_sizes, output_sizes, None, features.device)
            predicted, results = results, given_results(instances, labels, output_sizes)
            pairs = enumerate(zip(results, predicted, strict=True))
            rows = [fitting_predictions(number, *pair, self.min_iou) for number, pair in pairs]
            for result, every, row in zip(results, predicted, rows, strict=True):
                result.prediction_index = row
                result.prediction_boxes = every.pred_boxes[row]
        boxes = input_frame_boxes(results, image_sizes, output_sizes)
        index = image_index_of([len(row) for row in rows], features.device)
        trace = DetectionTrace(
            instances=results,
            features={self.layer: features},
            strides={self.layer: self.stride},
            image_index=index,
            level_index=torch.zeros_like(index)[:, None],
            references=boxes,
            boxes=boxes,
            rows=torch.cat(rows),
            classes=torch.cat([result.pred_classes for result in results]),
            level_names=(self.layer,),
            image_sizes=image_sizes,
            padded_size=(round(features.shape[-2] * self.stride), round(features.shape[-1] * self.stride)),
            output_sizes=output_sizes,
            head=_Again(self, batched_inputs, rows, [one["classes"] for one in found]),
            compute_features=self._refuse_another_layer,
        )
        if instances is not None:
            scores = [one["scores"][row] for one, row in zip(found, rows, strict=True)]
            write_scores(trace, torch.cat(scores).detach())
        return trace

    @contextmanager
    def at_layer(self, replacement: Tensor | None = None) -> Iterator[list]:
        """Collects what the layer gives inside the block, or puts something in its place; the hook goes at the end.

        Args:
            replacement: (N, C, H, W) that the layer is to give instead.
        """
        outputs: list = []

        def hook(_module, _inputs, output):
            # Copies, for what follows may work in place.
            outputs.append(output.clone() if isinstance(output, Tensor) else output)
            return None if replacement is None else replacement.clone()

        handle = find_layer(self.model, self.layer).register_forward_hook(in_this_thread(hook))
        try:
            yield outputs
        finally:
            handle.remove()

    def _refuse_another_layer(self) -> dict[str, Tensor]:
        """Stands where other detectors run their backbone again: what lies beside the layer is not known here."""
        raise ValueError(
            f"`layer` of the explainer must be None for a CallableDetector; it explains on {self.layer!r}: name "
            "another layer, with its stride, when you make the CallableDetector"
        )

    def _check_stride(self, features: Tensor, image_sizes: list[tuple[int, int]]) -> None:
        for axis, cells in enumerate(features.shape[-2:]):
            largest = max(size[axis] for size in image_sizes)
            if cells * self.stride <= largest - self.stride:
                raise ValueError(
                    f"`stride` must let the layer's map cover the image; got {self.stride:g}, with which "
                    f"{cells} cells along {'yx'[axis]} cover {cells * self.stride:g} of {largest} pixels: count pixels "
                    "of `image`, before `predict` resizes it"
                )


class _Again:
    """Runs the detector again from the layer on, and finds the traced predictions among what it says.

    Attributes:
        detector: whose trace it is.
        batched_inputs: the images.
        rows: N times (r,) int64, which of an image's predictions were traced.
        classes: N times (R,), the classes of all of them.
    """

    def __init__(self, detector: CallableDetector, batched_inputs: list[dict], rows: list[Tensor], classes: list):
        self.detector = detector
        self.batched_inputs = batched_inputs
        self.rows = rows
        self.classes = classes

    def predict(self, features: Mapping[str, Tensor], trace: DetectionTrace) -> Predictions:
        """Predictions of the traced detections from the layer's (N, C, H, W) map, with a graph back to it."""
        detector = self.detector
        source = features[detector.layer]
        with detector.at_layer(source):
            found = detector.ask(self.batched_inputs)
        for number, (one, classes) in enumerate(zip(found, self.classes, strict=True)):
            if not torch.equal(one["classes"], classes):
                raise RuntimeError(
                    f"`predict` must say the same when it is asked twice; got {len(classes)} predictions for image "
                    f"{number}, then {len(one['classes'])} others: switch off what is random in it"
                )
        said = {key: torch.cat([one[key][row] for one, row in zip(found, self.rows, strict=True)]) for key in found[0]}
        scaled = [
            one["boxes"][row].float() * one["boxes"].new_tensor(scale)
            for one, row, scale in zip(found, self.rows, self._scales(trace), strict=True)
        ]
        # NaN where there are no logits, so that nothing can be mistaken for them.
        logits = said.get("logits", torch.full_like(said["scores"], float("nan")))
        predictions = Predictions(scores=said["scores"], logits=logits, boxes=torch.cat(scaled))
        if source.requires_grad and len(trace):
            self._check_graph(source, predictions)
        return predictions

    def _scales(self, trace: DetectionTrace) -> list[list[float]]:
        """For each image, what brings XYXY boxes of `predict` to pixels of ``image``."""
        if self.detector.frame == "input":
            return [[1.0] * 4] * len(trace.image_sizes)
        sizes = zip(trace.image_sizes, trace.output_sizes, strict=True)
        return [[in_w / out_w, in_h / out_h] * 2 for (in_h, in_w), (out_h, out_w) in sizes]

    def _check_graph(self, source: Tensor, predictions: Predictions) -> None:
        for name, values in (("scores", predictions.scores), ("boxes", predictions.boxes)):
            if not values.requires_grad:
                raise ValueError(
                    f"{name!r} of `predict` must have a graph back to layer {self.detector.layer!r}; got a tensor "
                    "without one: leave no_grad, detach and numpy out of `predict`"
                )
        total = predictions.scores.sum() + predictions.boxes.sum()
        if torch.autograd.grad(total, source, retain_graph=True, allow_unused=True)[0] is None:
            raise ValueError(
                f"`layer` must lie between image and predictions; got {self.detector.layer!r}, on which no score and "
                "no box depends: name another, nearer to the image"
            )


def _sizes(batched_inputs: list[dict]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(h, w) of each image, as given and as original."""
    inputs = [(int(x["image"].shape[-2]), int(x["image"].shape[-1])) for x in batched_inputs]
    outputs = [
        (int(x.get("height", size[0])), int(x.get("width", size[1])))
        for x, size in zip(batched_inputs, inputs, strict=True)
    ]
    return inputs, outputs
