"""Where a detector's candidates are, from where they begin to the boxes that are reported.

Shape letters: P candidates of an image, K classes, r of the candidates. All boxes are XYXY in model-input pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torchvision.ops import box_iou


class Step(Protocol):
    """What all candidates are at one step."""

    @property
    def name(self) -> str:
        """What the step is called, e.g. ``anchors`` or ``box_head_2``."""
        ...

    def overlaps(self, box: Tensor, label: int) -> Tensor:
        """(P,): the IoU with an object, (4,), of the largest that each candidate can have, or has, for its class."""
        ...


@dataclass(frozen=True)
class BoxStep:
    """Boxes.

    Attributes:
        name: see :class:`Step`.
        boxes: (P, 4), or (P, K, 4) where each class has its own. Boxes that are not finite overlap nothing.
    """

    name: str
    boxes: Tensor

    @classmethod
    def clipped(cls, name: str, boxes: Tensor, size: tuple[int, int]) -> BoxStep:
        """Boxes as they are reported: within an image of (h, w) `size`; what is not finite has no area."""
        height, width = size
        finite = torch.isfinite(boxes).all(-1, keepdim=True)
        limits = boxes.new_tensor([width, height, width, height])
        return cls(name, torch.where(finite, boxes, 0.0).clamp(min=0.0).minimum(limits))

    def overlaps(self, box: Tensor, label: int) -> Tensor:
        """See :meth:`Step.overlaps`."""
        boxes = self.boxes if self.boxes.dim() == 2 else self.boxes[:, label]
        return box_iou(boxes, box[None])[:, 0].nan_to_num(0.0)

    def overlaps_of_all(self, rows: Tensor, boxes: Tensor) -> Tensor:
        """(r, K or 1, G) IoU of the boxes of (r,) candidates with (G, 4) objects, for each class that has its own."""
        chosen = self.boxes[rows] if self.boxes.dim() == 3 else self.boxes[rows, None]
        return box_iou(chosen.flatten(0, 1), boxes).nan_to_num(0.0).unflatten(0, chosen.shape[:2])

    def box_of(self, row: int, label: int) -> Tensor:
        """(4,): the box of one candidate for a class."""
        return self.boxes[row] if self.boxes.dim() == 2 else self.boxes[row, label]


@dataclass(frozen=True)
class PointStep:
    """Points, each of which becomes a box around itself: the locations of FCOS.

    A location can reach an object as far as the smallest box around both overlaps the object: fully where it lies
    inside. No box that the location may predict overlaps it more.

    Attributes:
        name: see :class:`Step`.
        points: (P, 2) x, y.
    """

    name: str
    points: Tensor

    def overlaps(self, box: Tensor, label: int) -> Tensor:
        """See :meth:`Step.overlaps`."""
        del label
        low, high = self.points.minimum(box[:2]), self.points.maximum(box[2:])
        return (box[2:] - box[:2]).prod() / (high - low).prod(1)
