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
        num = len(image_sizes)
        logits = [level.permute(0, 2, 3, 1).flatten(1) for level in results[0]]
        deltas = [d.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3) for d in results[1]]
        boxes, scores, rows, levels = [], [], [], []
        for level, (score, box) in enumerate(zip(logits, self._decode_proposals(anchors, deltas), strict=True)):
            best, row = score.topk(min(score.shape[1], self.pre_nms_topk[False]), dim=1)
            boxes.append(box[torch.arange(num, device=box.device)[:, None], row])
            scores.append(best)
            rows.append(row)
            levels.append(torch.full_like(row, level))
        parts = zip(*(torch.cat(values, 1) for values in (boxes, scores, rows, levels)), image_sizes, strict=True)
        return [self._keep(*part) for part in parts]

    def _keep(self, boxes: Tensor, scores: Tensor, rows: Tensor, levels: Tensor, size: tuple[int, int]) -> Instances:
        """One image's proposals from the candidates of all levels."""
        found = Instances(size, proposal_boxes=Boxes(boxes), objectness_logits=scores)
        found.set(ROW_FIELD, rows)
        found.set(LEVEL_FIELD, levels)
        found = found[torch.isfinite(boxes).all(1) & torch.isfinite(scores)]
        found.proposal_boxes.clip(size)
        found = found[found.proposal_boxes.nonempty(threshold=self.min_box_size)]
        level = found.get(LEVEL_FIELD)
        kept = batched_nms(found.proposal_boxes.tensor, found.objectness_logits, level, self.nms_thresh)
        return found[kept[: self.post_nms_topk[False]]]
