"""Any detector whose own forward pass leaves a graph from some maps to its boxes and scores.

Shape letters: D detections over the batch, N images, R detections of an image, L maps, C channels, (H, W) a grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from detectron2.structures import Instances
from torch import Tensor, nn

from ..explain.engines.autograd import find_layer
from ..explain.engines.norm_gradients import contiguous_norm_gradients
from ..modeling.callable import fitting_predictions
from ..modeling.graph_cut import find_cut, reached
from ..modeling.graph_modes import PartsAsCopies
from ..modeling.leaves import Leaves, find_backbone, graph_in_place, leaves_at
from ..modeling.overheard import Call, overhearing
from ..modeling.provenance import given_boxes, given_results, image_index_of, input_frame_boxes, write_scores
from ..modeling.results import read_others, read_results
from ..structures import DetectionTrace, Predictions
from ..utils.untyped import UntypedModule
from .own_graph import OwnGraph, OwnPass, as_results, sizes_of_input


class GraphDetector(nn.Module):
    """Explains a detector by the graph that its own forward pass leaves, on all the maps that it depends on.

    The detector takes Detectron2's input and gives Detectron2's results: for each image a dict with ``instances``, or
    ``proposals``. It runs once for detection and explanation. Maps of several layers are added in the frame of the
    image. Sides that the detector clips to the image have no gradient where they are clipped.

    Args:
        model: the detector.
        layers: paths of modules in it, each with the stride of its map in pixels of the model input; None for the maps
            that its ``backbone`` gives, or, where it has none, the first of Detectron2's backbones in it.
        min_iou: a given box is explained through the detection of its class that it overlaps most, by at least this.

    Raises:
        ValueError: if an argument is not usable.
        TypeError: if no layers are named and the model has no ``backbone``.

    Attributes:
        heard: names of methods of the detector's to overhear in it.
    """

    default_engine = "autograd"
    missing_attributes: tuple[str, ...] = ("logit",)
    refused_attributes: dict[str, str] = {"logit": "which logits scores are made of is not known of its own graph"}
    heard: tuple[str, ...] = ("preprocess_image",)

    def __init__(self, model: nn.Module, layers: Mapping[str, float] | None = None, min_iou: float = 0.5):
        super().__init__()
        if layers is None and find_backbone(model) is None:
            raise TypeError(
                f"`model` must have a `backbone` whose maps it is explained on; got {type(model).__name__}: name "
                "`layers` of a GraphDetector"
            )
        if not 0 < min_iou <= 1:
            raise ValueError(f"`min_iou` must be in (0, 1]; got {min_iou}: 0.5 is usual")
        for path, stride in (layers or {}).items():
            find_layer(model, path)
            if not 0 < stride < float("inf"):
                raise ValueError(f"the stride of layer {path!r} must be a number > 0; got {stride}: give pixels a cell")
        self.model: UntypedModule = model
        self.layers = None if layers is None else {path: float(stride) for path, stride in layers.items()}
        self.min_iou = min_iou

    def forward(self, batched_inputs: list[dict]) -> Any:
        """What the detector itself gives."""
        return self.model(batched_inputs)

    def sources(self, model: UntypedModule) -> dict[str, Any]:
        """The modules that give the maps, in `model` or in a copy of it, by the prefix of the maps' names."""
        if self.layers is None:
            return {"": find_backbone(model)}
        return {path: find_layer(model, path) for path in self.layers}

    def trace(self, batched_inputs: list[dict], instances: list[Instances] | None = None) -> DetectionTrace:
        """Detects, or finds the detections for the boxes that the caller gives; keeps the graph where gradients are on.

        Args:
            batched_inputs: what the detector takes.
            instances: boxes and classes to explain in place of the detections, in the original frame; see
                :func:`odam_d2.modeling.provenance.given_boxes`. Results name the detections that they are explained
                through in ``prediction_index`` and ``prediction_boxes`` (original frame).

        Returns:
            The trace; its ``instances`` are what the detector's own pass gave, and its levels are the maps that this
            has a graph to, all maps where gradients are off.

        Raises:
            ValueError: if the layers give no maps, given boxes are not usable, or no detection fits one.
            TypeError: if the results are not Detectron2's, or hold rotated boxes.
            RuntimeError: if the detector is in training mode.
        """
        if self.model.training:
            raise RuntimeError("the detector must be in eval mode to be traced; got training mode: call model.eval()")
        own = self.run(batched_inputs)
        kept, image_sizes = own.kept, own.image_sizes
        said = self.read(own.outputs, batched_inputs)
        output_sizes = [(int(one.image_size[0]), int(one.image_size[1])) for one in said]
        results = as_results(said)
        device = next(iter(kept.maps.values())).device
        if instances is None:
            rows = [torch.arange(len(result), device=device) for result in results]
        else:
            _, labels = given_boxes(instances, image_sizes, output_sizes, None, device)
            predicted, results = results, given_results(instances, labels, output_sizes)
            pairs = enumerate(zip(results, predicted, strict=True))
            rows = [fitting_predictions(number, *pair, self.min_iou) for number, pair in pairs]
            for result, every, row in zip(results, predicted, rows, strict=True):
                result.prediction_index = row
                result.prediction_boxes = every.pred_boxes[row]
        explained = [value for one in said for value in (one.scores, one.pred_boxes.tensor)]
        used = reached(explained, kept.maps) or list(kept.maps)
        maps = {name: kept.maps[name] for name in used}
        boxes = input_frame_boxes(results, image_sizes, output_sizes)
        index = image_index_of([len(row) for row in rows], device)
        padded_size = own.padded_size
        trace = DetectionTrace(
            instances=results,
            features={name: leaf.detach() for name, leaf in maps.items()},
            strides={name: self.stride_of(name, leaf, padded_size) for name, leaf in maps.items()},
            image_index=index,
            level_index=torch.arange(len(maps), device=device).expand(len(index), len(maps)),
            references=boxes,
            boxes=boxes,
            rows=torch.cat(rows),
            classes=torch.cat([result.pred_classes for result in results]),
            level_names=tuple(maps),
            image_sizes=image_sizes,
            padded_size=padded_size,
            output_sizes=output_sizes,
            head=OwnGraph(self, batched_inputs, said, rows, maps, image_sizes),
            compute_features=self._refuse_another_layer,
            others=self.read_others(own.outputs, len(batched_inputs)),
        )
        if instances is not None:
            scores = [one.scores.detach()[row] for one, row in zip(said, rows, strict=True)]
            write_scores(trace, torch.cat(scores))
        return trace

    def run(self, batched_inputs: list[dict], replacement: Mapping[str, Tensor] | None = None) -> OwnPass:
        """The detector's own pass from leaves in the place of the maps, or from other maps that are given."""
        sources = self.sources(self.model)
        leaves = self.new_leaves(len(batched_inputs), replacement)
        with ExitStack() as stack:
            kept = stack.enter_context(leaves_at(sources, leaves, self.quiet(self.model)))
            stack.enter_context(contiguous_norm_gradients(self.model))
            stack.enter_context(graph_in_place())
            for mode in self.modes(leaves):
                stack.enter_context(mode)
            outputs, heard = self.detect(batched_inputs)
        self.check_leaves(kept, sources)
        kept.given.clear()  # memory as large as the maps
        return OwnPass(kept, outputs, heard, *self.input_sizes(batched_inputs, heard, kept))

    def detect(self, batched_inputs: list[dict]) -> tuple[Any, Mapping[str, list[Call]]]:
        """What the detector gives, and the calls of what is to be overheard in it."""
        with overhearing(self.model, self.heard) as (model, heard):
            return model(batched_inputs), heard

    def read(self, outputs: Any, batched_inputs: list[dict]) -> list[Instances]:
        """N Instances in the original frame from what the detector gave, with their graph."""
        return read_results(outputs, len(batched_inputs))

    def read_others(self, outputs: Any, num_images: int) -> list[dict[str, Any]]:
        """N dicts of what the detector gave beside its instances."""
        return read_others(outputs, num_images)

    def check_leaves(self, kept: Leaves, sources: Mapping[str, Any]) -> None:
        """Raises ValueError where the sources did not run once, or gave no maps."""
        what = "`backbone`" if self.layers is None else "`layers`"
        if any(kept.calls.get(name, 0) != 1 for name in sources):
            raise ValueError(
                f"{what} must run once when the detector runs; got {kept.calls or 'no run'}: name `layers` of a "
                "GraphDetector that do, or explain one image at a time"
            )
        if not kept.maps:
            raise ValueError(
                f"{what} must give ({kept.num_images}, C, H, W) maps; got none: name `layers` of a GraphDetector"
            )

    def input_sizes(
        self, batched_inputs: list[dict], heard: Mapping[str, list[Call]], kept: Leaves
    ) -> tuple[list[tuple[int, int]], tuple[int, int]]:
        """N times (h, w) of the model input without padding, and (h, w) with it: of what the network saw."""
        # What goes into a named layer need not be the image.
        return sizes_of_input(batched_inputs, heard, kept.padded_size if self.layers is None else None)

    def modes(self, leaves: Leaves) -> list[AbstractContextManager]:
        """In what modes the detector runs, so that it leaves a graph from the leaves on."""
        del leaves
        return [PartsAsCopies()]

    def new_leaves(self, num_images: int, replacement: Mapping[str, Tensor] | None) -> Leaves:
        """What is to be filled with the maps of N images."""
        return Leaves(num_images, replacement)

    def quiet(self, model: UntypedModule) -> list[nn.Module]:
        """Modules in front of the sources that run without a graph."""
        del model
        return []

    def stride_of(self, name: str, leaf: Tensor, padded_size: tuple[int, int]) -> float:
        """Pixels of ``image`` per cell of a map."""
        plain = name.split("[")[0]
        if self.layers is not None:
            return next(stride for path, stride in self.layers.items() if f"{plain}.".startswith(f"{path}."))
        describe = getattr(find_backbone(self.model), "output_shape", None)
        shapes = describe() if callable(describe) else {}
        if isinstance(shapes, Mapping) and plain in shapes and shapes[plain].stride:
            return float(shapes[plain].stride)
        # A power of two whose cells just cover the image, as strided convolutions give; else what divides it.
        for power in range(8):
            if all(-(-size // 2**power) == cells for size, cells in zip(padded_size, leaf.shape[-2:], strict=True)):
                return float(2**power)
        return padded_size[0] / leaf.shape[-2]

    def why_cut(
        self, name: str, predictions: Predictions, maps: Mapping[str, Tensor], batched_inputs: list[dict]
    ) -> str:
        """What the error says where there is no graph to any map.

        Args:
            name: ``scores``, ``boxes`` or ``logits``, which lack it.
            predictions: of the traced detections.
            maps: name -> leaf.
            batched_inputs: the images.
        """
        del predictions
        cut = find_cut(self.model, self.sources, batched_inputs)
        return (
            f"{name} of {type(self.model).__name__} must have a graph back to its maps {list(maps)}; it is cut {cut}: "
            "take no_grad or detach out there, or use method='drise', which needs no graph"
        )

    def _refuse_another_layer(self) -> dict[str, Tensor]:
        raise ValueError(
            f"`layer` of the explainer must be None for {type(self.model).__name__}, which is explained by its own "
            "graph: name `layers`, each with its stride, of a GraphDetector"
        )
