"""Which heat maps of an image Odam-Train compares: those of one object, and those of neighbours.

Source: Zhao and Chan, ODAM, ICLR 2023 (arXiv 2304.06354), section 3.3. The published one-stage code takes its anchors
from one maximum over the image; here, as in the paper, every object has an anchor of its own.

Shape letters: P positives, of one image unless said otherwise; A objects among them.
"""

from dataclasses import dataclass

import torch
from detectron2.structures.boxes import Boxes, matched_pairwise_iou, pairwise_iou
from torch import Tensor


@dataclass
class Positives:
    """What is trained to say an object's class: sampled proposals, or anchors of a dense head.

    Attributes:
        boxes: (P, 4) XYXY boxes that are predicted for the object's class, in model-input pixels.
        truths: (P, 4) XYXY boxes of the objects, in model-input pixels, exactly as annotated for each of them.
        classes: (P,) int64 classes of the objects.
        image_index: (P,) int64 image of each, not falling.
    """

    boxes: Tensor
    truths: Tensor
    classes: Tensor
    image_index: Tensor

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, rows: Tensor) -> "Positives":
        """Some of them, by a bool mask or integers."""
        return Positives(self.boxes[rows], self.truths[rows], self.classes[rows], self.image_index[rows])

    @property
    def ious(self) -> Tensor:
        """(P,) IoU of each predicted box with its object."""
        return matched_pairwise_iou(Boxes(self.boxes), Boxes(self.truths))

    def keep_best(self, limit: int) -> Tensor:
        """Rows, ascending, of the `limit` positives of each image whose boxes overlap their objects most."""
        order = self.ious.argsort(descending=True, stable=True)
        order = order[self.image_index[order].argsort(stable=True)]
        return order[_rank_in_group(self.image_index[order]) < limit].sort().values


@dataclass
class Pairs:
    """Pairs of one image's positives, each beginning with an object's anchor, unless all are paired.

    Attributes:
        same: (n, 2) int64, an anchor and another positive of its object.
        weights: (n,) float, how much each of them counts.
        other: (m, 2) int64, an anchor and a positive of another object whose predicted box overlaps the anchor's.
        dropped: how many more of the latter there were, of objects that lie on the same place.
    """

    same: Tensor
    weights: Tensor
    other: Tensor
    dropped: int

    def __len__(self) -> int:
        return len(self.same) + len(self.other)


@torch.no_grad()
def pair_positives(
    positives: Positives,
    weigh: bool,
    duplicate_iou: float = 1.0,
    every: bool = False,
    iou_range: tuple[float, float] = (0.0, 1.0),
) -> Pairs:
    """Pairs the positives of one image.

    An object's anchor is the prediction of it with the highest IoU, the first of several. It is not paired with itself,
    which would have no gradient.

    Args:
        positives: of one image. Positives with the same class and annotated box are of one object.
        weigh: whether a pair of one object counts IoU_p / IoU_a, as published for two-stage detectors, or one.
        duplicate_iou: objects whose annotated boxes overlap by more are not held apart: one may be the other, annotated
            twice, or stand right behind it. 1 keeps all pairs, as published.
        every: whether every two positives are paired, not only each with anchors; then pairs don't differ in weight.
        iou_range: pairs whose predicted boxes overlap by an IoU below the first or above the second of these are left
            out; (0, 1) keeps all, as published.

    Returns:
        The pairs, as rows of `positives`.
    """
    objects = _number_objects(positives)
    ious = positives.ious
    everyone = torch.arange(len(positives), device=objects.device)
    if every:
        anchors = everyone
    else:
        order = ious.argsort(descending=True, stable=True)
        order = order[objects[order].argsort(stable=True)]
        anchors = order[_rank_in_group(objects[order]) == 0]  # (A,), of object 0, 1, ...

    overlaps = pairwise_iou(Boxes(positives.boxes[anchors]), Boxes(positives.boxes))
    alike = objects[anchors][:, None] == objects
    # Every two once; an anchor with everyone but itself.
    coupled = anchors[:, None] < everyone if every else anchors[:, None] != everyone
    coupled &= (overlaps >= iou_range[0]) & ((overlaps <= iou_range[1]) | (iou_range[1] >= 1))
    apart = pairwise_iou(Boxes(positives.truths[anchors]), Boxes(positives.truths)) <= duplicate_iou

    same = _pairs(coupled & alike, anchors)
    weights = ious[same[:, 1]] / ious[same[:, 0]].clamp(min=1e-9) if weigh and not every else ious.new_ones(len(same))
    candidates = coupled & ~alike & (overlaps > 0)
    return Pairs(same, weights, _pairs(candidates & apart, anchors), int((candidates & ~apart).sum()))


def _pairs(chosen: Tensor, anchors: Tensor) -> Tensor:
    """(n, 2) int64 from (A, P) bool: the anchor and the positive of each."""
    which, others = chosen.nonzero().unbind(1)
    return torch.stack([anchors[which], others], 1)


def _number_objects(positives: Positives) -> Tensor:
    """(P,) int64: the object of each positive, 0 .. A - 1."""
    truths = torch.cat([positives.classes[:, None].double(), positives.truths.double()], 1)
    return truths.unique(dim=0, return_inverse=True)[1] if len(truths) else positives.classes


def _rank_in_group(groups: Tensor) -> Tensor:
    """(P,) int64: 0 for the first element of each run of equal numbers, 1 for the second, and so on."""
    place = torch.arange(len(groups), device=groups.device)
    begins = groups.diff(prepend=groups[:1] - 1) != 0
    return place - torch.where(begins, place, 0).cummax(0).values if len(groups) else place
