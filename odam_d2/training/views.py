"""Which RoIs of a two-stage detector Odam-Train explains, and what of them: the published choice and others.

Shape letters: N images, V views of one image, G annotated objects of one image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import Tensor

from ..utils.untyped import UntypedModule

PROPOSALS = ("sampled", "all")
OWNERS = ("matched", "predicted")
ATTRIBUTES = ("logit", "score")
# A prediction is of the object that it overlaps most, by at least this IoU, as CrowdHuman and COCO count it.
MIN_IOU = 0.5


@dataclass(frozen=True)
class Views:
    """What is explained; the defaults are published.

    Attributes:
        proposals: ``sampled``: the positives that the detector itself is trained on, a quarter of a small sample;
            ``all``: every proposal that lies on an object.
        jittered: how many randomly moved and stretched annotated boxes of each object are explained beside them.
        given: whether each annotated box is explained beside them as a given box. It overlaps its object best, so it is
            the object's anchor.
        repool: how many times the predicted boxes go through the heads again before their maps are taken. 0 explains
            the proposals: heat then lies under these, which may be far from the box that is predicted.
        owner: ``matched``: a prediction is of the object that its proposal was matched with; ``predicted``: of the one
            that its predicted box overlaps most, and of none below an IoU of one half.
        attribute: ``logit`` of the class, or its ``score``, as log odds: their maps are those of the score but for a
            factor, and log odds don't saturate.
        learnable_gates: whether second order also learns which ReLUs of the heads open, see
            :mod:`odam_d2.ops.gates`.
    """

    proposals: str = "sampled"
    jittered: int = 0
    given: bool = False
    repool: int = 0
    owner: str = "matched"
    attribute: str = "logit"
    learnable_gates: bool = False

    def __post_init__(self):
        for name, value, known in (
            ("PROPOSALS", self.proposals, PROPOSALS),
            ("OWNER", self.owner, OWNERS),
            ("ATTRIBUTE", self.attribute, ATTRIBUTES),
        ):
            if value not in known:
                raise ValueError(f"`ODAM.TRAIN.{name}` must be one of {known}; got {value!r}: change it in the config")
        for name, count in (("JITTERED", self.jittered), ("REPOOL", self.repool)):
            if count < 0:
                raise ValueError(f"`ODAM.TRAIN.{name}` must be 0 or more; got {count}: change it in the config")

    def choose(self, heads: UntypedModule) -> list[Instances]:
        """The RoIs to explain.

        Args:
            heads: RoI heads that kept what their latest training step was given.

        Returns:
            N Instances with ``proposal_boxes`` (V, 4), ``gt_classes`` (V,) int64, where the heads' number of classes is
            background and, where the image has objects, ``gt_boxes`` (V, 4).
        """
        chosen = list(heads.samples)
        if self.proposals == "all":
            chosen = [match(*one) for one in zip(heads.all_proposals, heads.targets, strict=True)]
        for _ in range(self.jittered):
            chosen = [_join(one, _jittered(target)) for one, target in zip(chosen, heads.targets, strict=True)]
        if self.given:
            chosen = [_join(one, _as_view(t, t.gt_boxes)) for one, t in zip(chosen, heads.targets, strict=True)]
        return chosen


def match(proposals: Instances, targets: Instances) -> Instances:
    """The proposals of an image that lie on an object by an IoU of one half.

    Returns:
        An Instances with the fields that :meth:`Views.choose` says.
    """
    iou, owner = _best_object(proposals.proposal_boxes, targets.gt_boxes)
    rows = (iou >= MIN_IOU).nonzero()[:, 0]
    return _as_view(targets[owner[rows]], proposals.proposal_boxes[rows])


def owners(boxes: Tensor, classes: Tensor, targets: Instances) -> tuple[Tensor, Tensor]:
    """Of which object each predicted box of an image is.

    Args:
        boxes: (V, 4) XYXY.
        classes: (V,) int64, what they are predicted to be; an object of another class is none.
        targets: with ``gt_boxes`` and ``gt_classes`` of the G objects.

    Returns:
        (V,) int64 rows of the objects; (V,) bool, whether they overlap by an IoU of one half.
    """
    iou, owner = _best_object(Boxes(boxes), targets.gt_boxes, classes[:, None] == targets.gt_classes)
    return owner, iou >= MIN_IOU


def _best_object(boxes: Boxes, objects: Boxes, allowed: Tensor | bool = True) -> tuple[Tensor, Tensor]:
    """(V,) largest IoU with an object, (V,) int64 which one; zeros where there is no object."""
    if len(objects) == 0:
        nothing = boxes.tensor.new_zeros(len(boxes))
        return nothing, nothing.long()
    best = (pairwise_iou(boxes, objects) * allowed).max(1)
    return best.values, best.indices


def _jittered(targets: Instances) -> Instances:
    """One view of each object: its box with each side moved by up to a sixth of its size, inside the image."""
    boxes = targets.gt_boxes.tensor
    size = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    moved = Boxes(boxes + size * (torch.rand_like(boxes) - 0.5) / 3)
    moved.clip(targets.image_size)
    return _as_view(targets, moved)


def _as_view(targets: Instances, boxes: Boxes) -> Instances:
    """Views of the objects, one each."""
    fields = {"gt_classes": targets.gt_classes, "gt_boxes": targets.gt_boxes.clone()}
    return Instances(targets.image_size, proposal_boxes=boxes.clone(), **fields)


def _join(views: Instances, more: Instances) -> Instances:
    """Both sets of views of an image; what lies on no object is left out where there are objects."""
    if len(more) == 0:
        return views
    both: Sequence[Instances] = (views, more) if views.has("gt_boxes") else (more,)
    joined = Instances(views.image_size, proposal_boxes=Boxes.cat([one.proposal_boxes for one in both]))
    joined.gt_classes = torch.cat([one.gt_classes for one in both])
    joined.gt_boxes = Boxes.cat([one.gt_boxes for one in both])
    return joined
