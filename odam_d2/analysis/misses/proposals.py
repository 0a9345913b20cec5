"""How a region proposal network chose its proposals, and a detector that does nothing else.

Shape letters: N images, P anchors of all levels of an image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.modeling.proposal_generator import RPN
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from ...meta_arch import OdamProposalNetwork
from ...modeling import OdamRPN
from ...modeling.provenance import LEVEL_FIELD, ROW_FIELD, take_field
from ...utils.threads import in_this_thread
from .choice import Entrants, Kept, Suppression
from .replay import Candidates, Replayed, ReplayedImage, replay
from .steps import BoxStep


class HeardRPN:
    """What a region proposal network's head was given and said.

    Attributes:
        rpn: the network as ours; None for one that proposes in a way of its own.
        levels: (N, C, H, W) features of each level.
        results: of the head.
    """

    def __init__(self, generator: nn.Module | None):
        self.rpn = _as_ours(generator)
        self.levels: Sequence[Tensor] = ()
        self.results: Sequence[list[Tensor]] = ()

    def hear(self, _head: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """The head is done."""
        self.levels, self.results = list(inputs[0]), output

    def candidates(self, proposals: list[Instances]) -> list[Candidates | None]:
        """N times what the proposals were chosen among; None where they are not what such a network proposes.

        Args:
            proposals: N Instances with ``proposal_boxes``, as the detector's own network gave them.
        """
        if self.rpn is None or not self.levels:
            return [None] * len(proposals)
        anchors = self.rpn.anchor_generator(self.levels)
        known = candidates_of(self.rpn, anchors, self.results, [one.image_size for one in proposals])
        pairs = zip(known, proposals, strict=True)
        return [one if _proposes(one, mine.proposal_boxes.tensor) else None for one, mine in pairs]


@contextmanager
def hearing(generator: nn.Module | None) -> Iterator[HeardRPN]:
    """Hears a region proposal network's head while the detector runs in the block; the hook goes at its end."""
    heard = HeardRPN(generator)
    if heard.rpn is None:
        yield heard
        return
    handle = heard.rpn.rpn_head.register_forward_hook(in_this_thread(heard.hear))
    try:
        yield heard
    finally:
        handle.remove()


def candidates_of(
    rpn: OdamRPN, anchors: list[Boxes], results: Sequence[list[Tensor]], image_sizes: list[tuple[int, int]]
) -> list[Candidates]:
    """What the proposals of N images were chosen among: all anchors, with the same operators as in inference.

    Args:
        rpn: the network.
        anchors: of each level.
        results: of its head.
        image_sizes: N times (h, w).
    """
    logits, decoded = rpn.say_all(anchors, results)
    counts = torch.tensor([len(one) for one in anchors], device=logits[0].device)
    first = counts.cumsum(0) - counts
    found = []
    for number, best in enumerate(rpn.best_of_levels(logits, decoded, image_sizes)):
        usable = rpn.usable(best)
        suppressed = rpn.suppress(usable)
        kept, entered = _rows(suppressed, first), _rows(usable, first)
        # The place of each kept one among those that entered; every anchor enters once at most.
        places = torch.zeros(int(counts.sum()), dtype=torch.int64, device=counts.device)
        places[entered] = torch.arange(len(entered), device=places.device)
        groups = usable.get(LEVEL_FIELD)
        zeros = torch.zeros_like(groups)
        boxes, scores = usable.proposal_boxes.tensor, usable.objectness_logits
        entrants = Entrants(entered, zeros, boxes, scores, groups)
        most, nms_thresh = rpn.post_nms_topk[False], rpn.nms_thresh
        own = torch.cat([level[number] for level in logits])
        size = image_sizes[number]
        found.append(
            Candidates(
                noun="anchor",
                steps=[BoxStep("rpn_anchors", Boxes.cat(anchors).tensor)],
                last=BoxStep.clipped("rpn_boxes", torch.cat([level[number] for level in decoded]), size),
                scores=own.sigmoid()[:, None],
                choice=[
                    Kept("rpn_pre_nms_topk", float(rpn.pre_nms_topk[False]), *_pairs(_rows(best, first))),
                    Kept("rpn_min_size", float(rpn.min_box_size), *_pairs(entered)),
                    Suppression("rpn_nms", float(nms_thresh), entrants, places[kept]),
                    Kept("rpn_post_nms_topk", float(most), *_pairs(kept[:most])),
                ],
            )
        )
    return found


@replay.register
def _of_proposal_network(detector: OdamProposalNetwork, batched_inputs: list[dict]) -> Replayed:
    detector.require_traceable()
    with torch.no_grad():
        now = detector.forward_pass(batched_inputs)
        sizes = now.image_sizes
        known = candidates_of(detector.proposal_generator, now.anchors, now.results, sizes)
        counts = torch.tensor([len(one) for one in now.anchors], device=detector.device)
        first = counts.cumsum(0) - counts
        images = []
        for found, one, entry, size in zip(detector.detections(now), known, batched_inputs, sizes, strict=True):
            result = detector_postprocess(found, entry.get("height", size[0]), entry.get("width", size[1]))
            rows = _rows(result, first)
            for name in (ROW_FIELD, LEVEL_FIELD):
                take_field([result], name)
            images.append(ReplayedImage(detector.finish(result), rows, size, one, classless=True))

    def trace_of(pairs: list[Instances]):
        rows = torch.cat([one.get(ROW_FIELD) for one in pairs])
        levels = torch.bucketize(rows, counts.cumsum(0), right=True)
        return now.remember(pairs, rows - first[levels], levels, sizes)

    return Replayed(images, trace_of)


def _as_ours(generator: nn.Module | None) -> OdamRPN | None:
    """A region proposal network that proposes as Detectron2's does, as ours; None for any other."""
    if isinstance(generator, OdamRPN):
        stock = type(generator).propose is OdamRPN.propose and generator.why_not_traced() is None
        return generator if stock else None
    return OdamRPN.of(generator) if type(generator) is RPN else None


def _rows(found: Instances, first: Tensor) -> Tensor:
    """(k,) int64: which of all levels' anchors candidates or proposals came from."""
    return found.get(ROW_FIELD) + first[found.get(LEVEL_FIELD)]


def _pairs(rows: Tensor) -> tuple[Tensor, Tensor]:
    return rows, torch.zeros_like(rows)


def _proposes(known: Candidates, proposals: Tensor) -> bool:
    """Whether the choice leaves just these (R, 4) boxes."""
    final = known.choice[-1]
    assert isinstance(final, Kept)  # of the proposals
    return torch.equal(known.last.boxes[final.rows], proposals)
