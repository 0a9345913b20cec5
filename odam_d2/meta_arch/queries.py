"""Query detectors of other projects: detrex and its relatives, Detectron2's wrapper of DETR, Sparse R-CNN.

What they have in common: ``inference(box_cls (N, Q, K), box_pred (N, Q, 4), image_sizes)`` chooses the detections.

Shape letters: D detections over the batch, N images, Q queries, K classes, C channels, (H, W) the grid of a map.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from detectron2.structures import Instances
from torch import Tensor, nn

from ..modeling.graph_cut import reached
from ..modeling.graph_modes import GradWhatever, WholeGraph
from ..modeling.leaves import Leaves, find_backbone
from ..modeling.memory_leaves import STAGES, MemoryLeaves, stage_modules
from ..modeling.provenance import given_boxes, given_results, image_index_of, input_frame_boxes, write_scores
from ..modeling.query_rules import QueryRule, SaidByQueries, best_query, find_rule
from ..modeling.results import read_others, read_results, without_graph
from ..structures import DetectionTrace, Predictions
from ..utils.untyped import UntypedModule
from .graph import GraphDetector
from .own_graph import OwnGraph, OwnPass


def why_no_queries(model: UntypedModule) -> str | None:
    """In a few words, why a detector is none whose ``inference`` chooses among queries."""
    inference = inspect.getattr_static(type(model), "inference", None)
    if hasattr(model, "roi_heads") or not inspect.isfunction(inference):
        return f"{type(model).__name__} has no `inference` that chooses among queries"
    taken = inspect.signature(inference).parameters.values()
    if len(taken) < 4 and all(one.kind != one.VAR_POSITIONAL for one in taken):  # self, logits, boxes, sizes
        return f"`inference` of {type(model).__name__} does not take logits, boxes and sizes"
    return None if find_backbone(model) is not None else f"{type(model).__name__} has no backbone"


class QueryDetector(GraphDetector):
    """Explains a detector whose ``inference`` chooses among what queries say, by the graph of its own forward pass.

    The query of each detection is found among all of them by its box and score, so any query and class can be
    explained, and sides are not clipped. Where the network cuts its graph for training's sake (``detach`` of boxes
    between stages, of the encoder's proposals) or runs without one (``no_grad``), it is left whole, as
    :class:`odam_d2.meta_arch.OdamDETR` does. What RoIAlign pools depends on its boxes too; that has no derivative in
    torchvision. Where ``inference`` chooses several times (steps of a diffusion), the queries of all steps count.

    Args:
        model: the detector; see :func:`why_no_queries`.
        stage: whose maps to explain on, one of :data:`odam_d2.modeling.memory_leaves.STAGES`; None for the last that
            the detector has.

    Raises:
        ValueError: if the detector has no such stage.
    """

    missing_attributes = ()
    refused_attributes: dict[str, str] = {}
    heard = ("preprocess_image", "inference")

    def __init__(self, model: nn.Module, stage: str | None = None):
        super().__init__(model)
        known = [name for name in STAGES if name in stage_modules(model)]
        if stage is not None and stage not in known:
            raise ValueError(f"`stage` must be one that the detector has; got {stage!r}: choose among {known}")
        self.stages = [stage] if stage is not None else known
        self.stage = self.stages[-1]

    def sources(self, model: UntypedModule) -> dict[str, Any]:
        """See :meth:`GraphDetector.sources`."""
        modules = stage_modules(model)[self.stage]
        if self.stage == "backbone":
            return {"": modules[0]}
        if len(modules) == 1:
            return {self.stage: modules[0]}
        return {f"{self.stage}{number}": module for number, module in enumerate(modules)}

    def quiet(self, model: UntypedModule) -> list[nn.Module]:
        """See :meth:`GraphDetector.quiet`: the stages before."""
        before = STAGES[: STAGES.index(self.stage)]
        return [module for stage in before for module in stage_modules(model).get(stage, ())]

    def modes(self, leaves: Leaves) -> list[AbstractContextManager]:
        """See :meth:`GraphDetector.modes`: neither ``detach`` nor ``no_grad`` cuts the graph."""
        # Where nobody asks for gradients, there shall be none.
        kept = [GradWhatever(lambda: bool(leaves.maps))] if torch.is_grad_enabled() else []
        return [*super().modes(leaves), WholeGraph(), *kept]

    def new_leaves(self, num_images: int, replacement: Mapping[str, Tensor] | None) -> Leaves:
        """See :meth:`GraphDetector.new_leaves`."""
        if self.stage != "encoder":
            return Leaves(num_images, replacement)
        return MemoryLeaves(num_images, replacement, stage_modules(self.model)["projection"])

    def run(self, batched_inputs: list[dict], replacement: Mapping[str, Tensor] | None = None) -> OwnPass:
        """See :meth:`GraphDetector.run`; on the last stage whose output are maps."""
        while True:
            try:
                return super().run(batched_inputs, replacement)
            except ValueError:  # it runs several times, or gives no maps
                before = self.stages[: self.stages.index(self.stage)]
                if not before:
                    raise
                self.stage = before[-1]

    def trace(self, batched_inputs: list[dict], instances: list[Instances] | None = None) -> DetectionTrace:
        """Detects, or finds the queries of the boxes that the caller gives; keeps the graph where gradients are on.

        Args:
            batched_inputs: what the detector takes.
            instances: boxes and classes to explain in place of the detections, in the original frame; each is
                explained through the query whose box overlaps it most; results name it in ``query_index``.

        Returns:
            The trace; ``rows`` are queries.

        Raises:
            UnmatchedError: if a detection is not found among what the queries said.
            ValueError: if given boxes are not usable; UnreachedBoxError, which is one, if no query overlaps one.
            RuntimeError: if the detector is in training mode.
        """
        if self.model.training:
            raise RuntimeError("the detector must be in eval mode to be traced; got training mode: call model.eval()")
        own = self.run(batched_inputs)
        said, results, rule, rows = self._find(own)
        output_sizes = [(int(one.image_size[0]), int(one.image_size[1])) for one in results]
        decoded, device = rule.decode(said.boxes.detach()), said.boxes.device
        if instances is not None:
            count = rule.num_classes(said.logits)
            given, labels = given_boxes(instances, own.image_sizes, output_sizes, count, device)
            results = given_results(instances, labels, output_sizes)
            rows = [best_query(*pair, number) for number, pair in enumerate(zip(given, decoded, strict=True))]
            for result, row in zip(results, rows, strict=True):
                result.query_index = row
        maps = {name: own.kept.maps[name] for name in reached([said.logits, said.boxes], own.kept.maps)}
        maps = maps or own.kept.maps
        image_index = image_index_of([len(row) for row in rows], device)
        queries = torch.cat(rows)
        trace = DetectionTrace(
            instances=results,
            features={name: leaf.detach() for name, leaf in maps.items()},
            strides={name: self.stride_of(name, leaf, own.padded_size) for name, leaf in maps.items()},
            image_index=image_index,
            level_index=torch.arange(len(maps), device=device).expand(len(queries), len(maps)),
            references=decoded[image_index, queries],
            boxes=input_frame_boxes(results, own.image_sizes, output_sizes),
            rows=queries,
            classes=torch.cat([result.pred_classes for result in results]),
            level_names=tuple(maps),
            image_sizes=own.image_sizes,
            padded_size=own.padded_size,
            output_sizes=output_sizes,
            head=_OwnQueries(self, batched_inputs, said, rule, rows, maps, own.image_sizes, results),
            compute_features=self._refuse_another_layer,
            others=read_others(own.outputs, len(batched_inputs)),
        )
        if instances is not None:
            write_scores(trace, rule.scores(said.logits.detach())[image_index, queries, trace.classes])
        return trace

    @torch.no_grad()
    def candidates(self, batched_inputs: list[dict]) -> list[tuple[Tensor, Tensor]]:
        """What all queries say, before the best are chosen: for each image (Q, 4) XYXY boxes and (Q, K) scores."""
        _, said, _, rule, _ = self.run_queries(batched_inputs)
        return list(zip(rule.decode(said.boxes), rule.scores(said.logits), strict=True))

    @torch.no_grad()
    def run_queries(
        self, batched_inputs: list[dict]
    ) -> tuple[OwnPass, SaidByQueries, list[Instances], QueryRule, list[Tensor]]:
        """The detector's own pass, what its queries said, its detections, the rule between both, and their queries.

        Raises:
            UnmatchedError: see :meth:`trace`.
        """
        own = self.run(batched_inputs)
        return own, *self._find(own)

    def _find(self, own: OwnPass) -> tuple[SaidByQueries, list[Instances], QueryRule, list[Tensor]]:
        """What the queries said, the detections, the rule from the ones to the others, and the query of each."""
        count = len(own.image_sizes)
        said = SaidByQueries.of_call(own.heard["inference"], count)
        results = [without_graph(one) for one in read_results(own.outputs, count)]
        return said, results, *find_rule(said, results, own.image_sizes, getattr(self.model, "num_classes", None))


class _OwnQueries(OwnGraph):
    """Hands over what the traced queries said, with the graph of the detector's own pass."""

    def __init__(
        self,
        detector: QueryDetector,
        batched_inputs: list[dict],
        said: SaidByQueries,
        rule: QueryRule,
        rows: list[Tensor],
        maps: dict[str, Tensor],
        image_sizes: list[tuple[int, int]],
        results: list[Instances],
    ):
        super().__init__(detector, batched_inputs, said, rows, maps, image_sizes)
        self.rule = rule
        self.classes = torch.cat([result.pred_classes for result in results])

    def predict(self, features: Mapping[str, Tensor], trace: DetectionTrace) -> Predictions:
        """See :meth:`OwnGraph.predict`."""
        del trace
        own = self.detector.run(self.batched_inputs, {**self.maps, **features})
        return self._predictions(SaidByQueries.of_call(own.heard["inference"], len(self.batched_inputs)))

    def class_vectors(self, trace: DetectionTrace) -> Tensor:
        """(D, classes): scores of all classes that the traced queries gave."""
        return self.rule.scores(self.said.logits.detach())[trace.image_index, trace.rows]

    def _predictions(self, said: SaidByQueries) -> Predictions:
        queries = torch.cat(self.rows)
        image = image_index_of([len(row) for row in self.rows], queries.device)
        logits = said.logits[image, queries]
        column = self.classes[:, None]
        scores = self.rule.scores(logits)
        return Predictions(
            scores=scores.gather(1, column)[:, 0],
            logits=logits.gather(1, column)[:, 0],
            boxes=self.rule.decode(said.boxes)[image, queries],
            class_scores=scores,
        )
