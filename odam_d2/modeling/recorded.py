"""RoI heads of one's own, recorded while they detect and run again from what they pooled.

Shape letters: D detections over the batch, d of them, R RoIs over the batch, N images, S stages, K classes, C channels,
P pooled cells.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from ..structures import DetectionTrace, Predictions
from ..utils.threads import in_this_thread
from ..utils.untyped import UntypedModule
from .box_branches import BoxBranch, branch_scalars, why_branch_not_instance_wise
from .instance_wise import ALONE_TOLERANCE, unknown_types
from .pooled import BoxStage, PooledStage
from .score_rules import MeanScore, ScoreRule

_ARGUMENTS = ("images", "features", "proposals")


class UnmatchedError(ValueError):
    """RoI heads don't pool, predict or choose in a way that detections can be followed through."""


class _EnoughError(Exception):
    """Ends a run of the RoI heads once the last predictor has spoken."""


class Recording:
    """What RoI heads did in one pass.

    Attributes:
        arguments: N images, features, N Instances of proposals, as the heads were called.
        stages: one for each time a predictor ran, with the features that its pooler read.
        levels: for each stage what its pooler read.
        between: the modules that ran from a pooler to the end of its predictor.
    """

    def __init__(self, pooled: list[Tensor] | None = None):
        self.arguments: list[tuple[Any, ...]] = []
        self._call: tuple[tuple, dict[str, Any]] = (), {}
        self.stages: list[BoxStage] = []
        self.levels: list[list[Tensor]] = []
        self.between: dict[nn.Module, None] = {}
        self.replacement = pooled
        self._open: list[tuple[UntypedModule, list[Tensor], list[Boxes], Tensor]] = []
        # What ran since the latest pooler, which counts once a predictor comes: behind others come masks and the like.
        self._since: dict[nn.Module, None] = {}

    def called(self, _heads: nn.Module, inputs: tuple, named: dict) -> None:
        """The heads begin."""
        given = dict(zip(_ARGUMENTS, inputs, strict=False)) | named
        if not set(_ARGUMENTS) <= set(given):
            raise UnmatchedError("its RoI heads don't take images, features and proposals")
        self.arguments.append(tuple(given[name] for name in _ARGUMENTS))
        self._call = inputs, named

    def call_again(self, heads: UntypedModule, proposals: list[Instances]) -> None:
        """Calls the heads as they were called, with other proposals."""
        inputs, named = self._call
        position = _ARGUMENTS.index("proposals")
        if len(inputs) > position:
            inputs = (*inputs[:position], proposals, *inputs[position + 1 :])
        else:
            named = {**named, "proposals": proposals}
        heads(*inputs, **named)

    def has_pooled(self, pooler: UntypedModule, inputs: tuple, output: Tensor) -> Tensor | None:
        """A pooler is done; its output gives way to what is to stand there."""
        number = len(self.stages) + len(self._open)
        if self.replacement is not None and number < len(self.replacement):
            output = self.replacement[number]
        self._since = {}
        self._open.append((pooler, list(inputs[0]), list(inputs[1]), output))
        return output if self.replacement is not None else None

    def ran(self, module: nn.Module, _inputs: Any, _output: Any) -> None:
        """Some module is done."""
        if self._open:
            self._since[module] = None

    def predicted(self, predictor: UntypedModule, _inputs: Any, output: Any) -> None:
        """A predictor is done."""
        if not self.arguments:
            raise UnmatchedError("its RoI heads are not called as a whole")
        if len(self._open) != 1 or not isinstance(output, list | tuple) or len(output) < 2:
            raise UnmatchedError("a predictor does not read one pooler, or gives no logits and deltas")
        pooler, levels, boxes, pooled = self._open.pop()
        self.between |= self._since
        sizes = [one.image_size for one in self.arguments[-1][2]]
        rois = [Instances(size, proposal_boxes=box) for size, box in zip(sizes, boxes, strict=True)]
        # What a predictor of one's own says besides, behind logits and deltas, is for training.
        self.stages.append(BoxStage(pooler, rois, pooled, predictor, (output[0], output[1])))
        self.levels.append(levels)
        if self.replacement is not None and len(self.stages) == len(self.replacement):
            raise _EnoughError


@contextmanager
def recording(
    roi_heads: nn.Module, pooled: list[Tensor] | None = None, within: nn.Module | None = None
) -> Iterator[Recording]:
    """Records what RoI heads do inside the block; the hooks go at its end.

    Args:
        roi_heads: the detector's.
        pooled: for each stage what its pooler is to give instead; the run ends with the last predictor.
        within: the detector, where the heads may run parts of it that are not their own.
    """
    record = Recording(pooled)
    handles = [roi_heads.register_forward_pre_hook(in_this_thread(record.called), with_kwargs=True)]
    for module in (within or roi_heads).modules():
        if isinstance(module, ROIPooler):
            handles.append(module.register_forward_hook(in_this_thread(record.has_pooled)))
        elif not any(isinstance(module, ROIPooler) for module in module.modules()):
            handles.append(module.register_forward_hook(in_this_thread(record.ran)))
        if isinstance(module, FastRCNNOutputLayers):
            handles.append(module.register_forward_hook(in_this_thread(record.predicted)))
    try:
        yield record
    except _EnoughError:
        pass
    finally:
        for handle in handles:
            handle.remove()


class RecordedRoIHead:
    """Re-runs recorded RoI heads on the traced detections, by calling the heads themselves.

    Attributes:
        stages: the S places where detections were pooled, and behind them one for each branch.
        num_box_stages: S.
        rule: from what the stages say to the score that is reported.
        box_branches: what pools detected boxes as Detectron2's masks and keypoints do.
    """

    def __init__(
        self,
        roi_heads: UntypedModule,
        record: Recording,
        stages: list[PooledStage],
        rows: list[Tensor],
        rule: type[ScoreRule] = MeanScore,
        box_branches: Sequence[BoxBranch] = (),
    ):
        self.roi_heads = roi_heads
        self.rule = rule
        self.record = record
        self.stages = stages
        self.num_box_stages = len(record.stages)
        self.rows = rows
        self.box_branches = box_branches
        self._alone: bool | None = None

    def why_not_instance_wise(self, attributes: Collection[str]) -> str | None:
        """See :meth:`odam_d2.modeling.pooled.TracedRoIHead.why_not_instance_wise`."""
        opaque, _ = unknown_types(module for module in self.record.between if not list(module.children()))
        if opaque:
            return f"{opaque[0]} is not known to treat each RoI on its own"
        if self._alone is None:
            self._alone = self._says_the_same_alone()
        if not self._alone:
            return f"{type(self.roi_heads).__name__} does not treat each RoI on its own"
        return why_branch_not_instance_wise(self.box_branches, attributes)

    def _says_the_same_alone(self) -> bool:
        if not sum(len(rows) for rows in self.rows):
            return True
        first = next(number for number, rows in enumerate(self.rows) if len(rows))
        alone = [rows[:1] if number == first else rows[:0] for number, rows in enumerate(self.rows)]
        try:
            with torch.no_grad():
                said = self._say([stage.pooled[:1] for stage in self.stages[: self.num_box_stages]], alone)
        except (RuntimeError, ValueError):  # statistics of one RoI, for one
            return False
        for found, stage in zip(said, self.stages, strict=False):
            for output, recorded in zip(found, stage.outputs, strict=True):
                if not bool((output - recorded[:1]).abs().amax() <= ALONE_TOLERANCE * recorded[:1].abs().amax()):
                    return False
        return True

    def predict_pooled(self, pooled: Mapping[int, Tensor], trace: DetectionTrace) -> Predictions:
        """See :meth:`odam_d2.modeling.pooled.TracedRoIHead.predict_pooled`."""
        return self._predict_alone(pooled.__getitem__, trace)

    def _predict_alone(self, pooled: Callable[[int], Tensor], trace: DetectionTrace) -> Predictions:
        values = [pooled(number) for number in range(self.num_box_stages)]
        if len(trace) == 0:
            nothing = sum(one.sum() for one in values) * values[0].new_zeros(0)
            extras = {name: nothing for branch in self.box_branches for name in branch.attributes}
            return Predictions(nothing, nothing, nothing[:, None] * nothing.new_zeros(4), dict(extras))
        boxes = [stage.split_boxes for stage in self.stages[: self.num_box_stages]]
        said = self._decode(self._say(values, self.rows), boxes, self.rows, None, trace.classes)
        return self._with_branches(said, pooled, trace)

    def predict(self, features: Mapping[str, Tensor], trace: DetectionTrace) -> Predictions:
        """See :meth:`odam_d2.modeling.pooled.TracedRoIHead.predict`."""
        alone = self.why_not_instance_wise(()) is None or len(trace) == 0
        levels = [features[name] for name in trace.level_names]
        box_stages = self.stages[: self.num_box_stages]
        boxes = [stage.split_boxes if alone else stage.everyone or [] for stage in box_stages]
        pairs = zip(box_stages, boxes, strict=True)
        pooled = [stage.pooler(levels, [Boxes(box) for box in split]) for stage, split in pairs]

        def pool(number: int) -> Tensor:
            if number < self.num_box_stages:
                return pooled[number]
            stage = self.stages[number]
            return stage.pooler(levels, [Boxes(box) for box in stage.split_boxes])

        if alone:
            return self._predict_alone(pool, trace)
        counts = [len(box) for box in boxes[0]]
        everyone = [torch.arange(count, device=trace.rows.device) for count in counts]
        first = torch.tensor([0, *counts][:-1], device=trace.rows.device).cumsum(0)
        rows = torch.cat([row + begin for row, begin in zip(self.rows, first, strict=True)])
        said = self._decode(self._say(pooled, everyone), boxes, everyone, rows, trace.classes)
        return self._with_branches(said, pool, trace)

    def _with_branches(self, said: Predictions, pooled: Callable[[int], Tensor], trace: DetectionTrace) -> Predictions:
        rois = [stage.boxes for stage in self.stages]
        extras = branch_scalars(self.box_branches, self.num_box_stages, pooled, rois, trace.classes)
        return replace(said, extras=dict(extras))

    @torch.no_grad()
    def class_vectors(self, trace: DetectionTrace) -> Tensor:
        """(D, K): what the box stages say of all classes but background, on average."""
        scores = self.predict(trace.features, trace).class_scores
        return trace.references.new_zeros(0, 1) if scores is None else scores[:, : self.roi_heads.num_classes]

    def _say(self, pooled: list[Tensor], rows: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """For each stage logits and deltas for the proposals of some rows of each image, from pooled features."""
        _, _, proposals = self.record.arguments[-1]
        chosen = [one[row] for one, row in zip(proposals, rows, strict=True)]
        with recording(self.roi_heads, pooled) as record:
            self.record.call_again(self.roi_heads, chosen)
        return [stage.outputs for stage in record.stages]

    def _decode(
        self,
        said: list[tuple[Tensor, Tensor]],
        boxes: list[list[Tensor]],
        rows: list[Tensor],
        picked: Tensor | None,
        classes: Tensor,
    ) -> Predictions:
        _, _, proposals = self.record.arguments[-1]
        chosen = [one[row] for one, row in zip(proposals, rows, strict=True)]
        predictors = [stage.predictor for stage in self.record.stages]
        stages = list(zip(predictors, said, boxes, strict=True))
        per_image_boxes, per_image_scores = read_stages(stages, chosen, self.rule)
        decoded, scores = torch.cat(per_image_boxes), torch.cat(per_image_scores)
        logits = torch.stack([output[0] for output in said]).mean(0)
        if picked is not None:
            decoded, scores, logits = decoded[picked], scores[picked], logits[picked]
        row = torch.arange(len(classes), device=classes.device)
        return Predictions(
            scores[row, classes], logits[row, classes], decoded[row, classes % decoded.shape[1]], class_scores=scores
        )


def read_stages(
    stages: list[tuple[UntypedModule, tuple[Tensor, Tensor], list[Tensor]]],
    proposals: list[Instances],
    rule: type[ScoreRule] = MeanScore,
) -> tuple[list[Tensor], list[Tensor]]:
    """What box stages together say: boxes of the last one, and scores by a rule from the mean of all.

    Args:
        stages: for each its predictor, its outputs, and its RoIs, N times (r, 4).
        proposals: N Instances that the first stage began with; their other fields are handed on.
        rule: Detectron2's is the mean itself.

    Returns:
        N times (r, K or 1, 4) boxes in model-input pixels, not clipped; N times (r, K + 1) scores.
    """
    scores = []
    for predictor, outputs, boxes in stages:
        rois = [Instances(one.image_size, **one.get_fields()) for one in proposals]
        for one, box in zip(rois, boxes, strict=True):
            one.proposal_boxes = Boxes(box)
        scores.append(predictor.predict_probs(outputs, rois))
    decoded = predictor.predict_boxes(outputs, rois)
    mean = [sum(list(one)) * (1.0 / len(scores)) for one in zip(*scores, strict=True)]
    reported = [rule.scores(one, begun) for one, begun in zip(mean, proposals, strict=True)]
    return [box.view(len(box), box.shape[1] // 4, 4) for box in decoded], reported


def match_rows(found: Instances, boxes: Tensor, scores: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Which proposal each detection of an image came from, by its box and its score.

    Args:
        found: D detections in the original frame.
        boxes: (R, K or 1, 4) of all proposals, in model-input pixels, not clipped.
        scores: (R, K + 1).
        image_size: (h, w) of the model input.

    Returns:
        (D,) int64 rows.

    Raises:
        UnmatchedError: if one is not among them.
    """
    classes = found.pred_classes
    if len(found) == 0:
        return classes.clone()
    every = Boxes(boxes.reshape(-1, 4).clone())
    every.clip(image_size)
    every.scale(found.image_size[1] / image_size[1], found.image_size[0] / image_size[0])
    every.clip(found.image_size)
    boxes = every.tensor.view_as(boxes)
    of_class = boxes[:, classes % boxes.shape[1]].transpose(0, 1)  # (D, R, 4)
    apart = (of_class - found.pred_boxes.tensor[:, None]).abs().amax(2)
    apart = apart / max(found.image_size)
    # Scores differ by more than rounding, or not at all.
    apart = torch.maximum(apart, (scores[:, classes].T - found.scores[:, None]).abs())
    best, rows = apart.min(1)
    if not bool((best <= 1e-5).all()):
        index = int((~(best <= 1e-5)).nonzero()[0, 0])
        raise UnmatchedError(
            f"detection {index} with score {float(found.scores[index]):.4g} is not among what the predictor said"
        )
    return rows
