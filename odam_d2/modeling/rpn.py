"""A region proposal network that remembers which anchor each proposal came from.

Shape letters: N images, A anchors a cell, (H, W) the grid of a level, O outputs of an anchor.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from detectron2.layers import batched_nms
from detectron2.modeling.proposal_generator import PROPOSAL_GENERATOR_REGISTRY, RPN, StandardRPNHead
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from ..structures import DetectionTrace, Predictions
from ..utils.untyped import UntypedModule
from .dense import TracedDenseHead
from .provenance import LEVEL_FIELD, ROW_FIELD
from .repeats import RepeatsInference


class TracedRPNHead(TracedDenseHead):
    """Outputs of an anchor: the objectness logit, then dx, dy, dw, dh."""

    @property
    def module(self) -> UntypedModule:
        """See :attr:`TracedDenseHead.module`."""
        return self.detector.rpn_head

    def decode(self, outputs: Tensor, trace: DetectionTrace) -> Predictions:
        """See :meth:`TracedDenseHead.decode`; the score is the objectness."""
        boxes = self.detector.box2box_transform.apply_deltas(outputs[:, 1:5], trace.references)
        objectness = outputs[:, 0].sigmoid()
        return Predictions(objectness, outputs[:, 0], boxes, extras={"objectness": objectness})

    def _layout(self) -> list[tuple[int, int, int | None]]:
        return [(0, 1, 0), *((1, 4, side) for side in range(4))]

    def _read(self) -> str | None:
        head = self.module
        if type(head) is not StandardRPNHead:
            return f"the head {type(head).__name__} is not StandardRPNHead"
        convs = list(head.conv) if isinstance(head.conv, nn.Sequential) else [head.conv]
        return self.read_branches([(convs, [head.objectness_logits, head.anchor_deltas])])


@PROPOSAL_GENERATOR_REGISTRY.register()
class OdamRPN(RepeatsInference, RPN):
    """``RPN`` with the same weights and the same proposals, which can also say where they came from."""

    inference_method = "predict_proposals"
    tracing_methods = ("propose",)

    @classmethod
    def of(cls, rpn: RPN) -> OdamRPN:
        """The same network once more: it shares modules and settings with a stock one.

        Raises:
            TypeError: if `rpn` proposes in a way of its own, which its trace would not know.
        """
        if type(rpn) not in (RPN, cls):
            raise TypeError(
                f"`rpn` must propose as Detectron2's RPN does; got {type(rpn).__name__}: derive it from OdamRPN and "
                "override `propose`"
            )
        same = copy.copy(rpn)
        same.__class__ = cls
        return same

    def require_traceable(self) -> None:
        """Raises TypeError where proposals are chosen in a way that :meth:`propose` does not know."""
        reason = self.why_not_traced()
        if reason:
            raise TypeError(
                f"`proposal_generator` must trace what it does in inference; got {type(self).__name__}, which "
                f"{reason}: override `propose` as well, and keep levels and anchors there"
            )

    def propose(
        self, anchors: Sequence[Boxes], results: Sequence[list[Tensor]], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Instances]:
        """What inference proposes, with each proposal's level and anchor beside it.

        Args:
            anchors: for each level H * W * A boxes.
            results: of the head: for each level (N, A, H, W) objectness logits; for each (N, 4 A, H, W) deltas.
            image_sizes: N times (h, w).

        Returns:
            N Instances with ``proposal_boxes`` (model-input pixels) and ``objectness_logits``, best first, and the
            fields ``odam_row``, the anchor's number within its level, and ``odam_level``.
        """
        candidates = self.best_of_levels(*self.say_all(anchors, results), image_sizes)
        return [self.suppress(self.usable(found))[: self.post_nms_topk[False]] for found in candidates]

    def say_all(self, anchors: Sequence[Boxes], results: Sequence[list[Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
        """What the head says at every anchor.

        Args:
            anchors: as for :meth:`propose`.
            results: as for :meth:`propose`.

        Returns:
            For each level (N, H * W * A) objectness logits, and (N, H * W * A, 4) boxes in model-input pixels, not
            clipped.
        """
        logits = [level.permute(0, 2, 3, 1).flatten(1) for level in results[0]]
        deltas = [d.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3) for d in results[1]]
        return logits, self._decode_proposals(anchors, deltas)

    def best_of_levels(
        self, logits: list[Tensor], decoded: list[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Instances]:
        """The candidates: of each level those with the highest objectness, as many as inference takes.

        Args:
            logits, decoded: what :meth:`say_all` gives.
            image_sizes: N times (h, w).

        Returns:
            N Instances in the form of :meth:`propose`, boxes not clipped.
        """
        num = len(image_sizes)
        boxes, scores, rows, levels = [], [], [], []
        for level, (score, box) in enumerate(zip(logits, decoded, strict=True)):
            best, row = score.topk(min(score.shape[1], self.pre_nms_topk[False]), dim=1)
            boxes.append(box[torch.arange(num, device=box.device)[:, None], row])
            scores.append(best)
            rows.append(row)
            levels.append(torch.full_like(row, level))
        found = []
        parts = zip(*(torch.cat(values, 1) for values in (boxes, scores, rows, levels)), image_sizes, strict=True)
        for box, score, row, level, size in parts:
            one = Instances(size, proposal_boxes=Boxes(box), objectness_logits=score)
            one.set(ROW_FIELD, row)
            one.set(LEVEL_FIELD, level)
            found.append(one)
        return found

    def usable(self, found: Instances) -> Instances:
        """The candidates of an image that are finite, clipped to the image, and not too small there."""
        boxes = found.proposal_boxes.tensor
        found = found[torch.isfinite(boxes).all(1) & torch.isfinite(found.objectness_logits)]
        found.proposal_boxes.clip(found.image_size)
        return found[found.proposal_boxes.nonempty(threshold=self.min_box_size)]

    def suppress(self, found: Instances) -> Instances:
        """What non-max suppression, level by level, leaves of an image's candidates, best first."""
        level = found.get(LEVEL_FIELD)
        return found[batched_nms(found.proposal_boxes.tensor, found.objectness_logits, level, self.nms_thresh)]
