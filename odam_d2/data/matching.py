"""Which detection is which object.

Shape letters: R detections, G objects of one image.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou


@dataclass
class Matches:
    """One-to-one pairs of detections and objects in one image, and what became of the rest.

    Attributes:
        detections: (M,) int64 rows of the detections, by falling score.
        objects: (M,) int64 rows of the objects, in the same order.
        iou: (M,) float32.
        counts: objects, detections, and how many detections each filter dropped, by name.
    """

    detections: Tensor
    objects: Tensor
    iou: Tensor
    counts: dict[str, int]


def match_detections(
    boxes: Tensor, scores: Tensor, classes: Tensor, true_boxes: Tensor, true_classes: Tensor, iou_threshold: float
) -> Matches:
    """Greedy one-to-one matching: by falling score, each detection takes the free object that it overlaps most.

    Args:
        boxes: (R, 4) XYXY, in the frame of `true_boxes`.
        scores: (R,); of equal ones the earlier row chooses first.
        classes: (R,) int64.
        true_boxes: (G, 4) XYXY of the objects, crowds and ignored ones left out.
        true_classes: (G,) int64.
        iou_threshold: a pair must overlap by *more* than this.

    Raises:
        ValueError: if the threshold is no IoU.
    """
    if not 0.0 <= iou_threshold < 1.0:
        raise ValueError(f"`iou_threshold` must be in [0, 1); got {iou_threshold}: the paper takes .9")
    overlap = (
        box_iou(boxes, true_boxes) if len(boxes) and len(true_boxes) else boxes.new_zeros(len(boxes), len(true_boxes))
    )
    same_class = classes[:, None] == true_classes
    allowed = torch.where(same_class, overlap, -1.0)
    free = torch.ones(len(true_boxes), dtype=torch.bool, device=boxes.device)
    pairs: list[tuple[int, int]] = []
    counts = {"objects": len(true_boxes), "detections": len(boxes), "no_object_of_class": 0, "low_iou": 0, "taken": 0}
    for row in scores.argsort(descending=True, stable=True).tolist():
        best = torch.where(free, allowed[row], -1.0)
        if len(best) and float(best.max()) > iou_threshold:
            pairs.append((row, int(best.argmax())))
            free[pairs[-1][1]] = False
        elif not bool(same_class[row].any()):
            counts["no_object_of_class"] += 1
        elif float(allowed[row].max()) > iou_threshold:
            counts["taken"] += 1
        else:
            counts["low_iou"] += 1
    chosen = torch.tensor(pairs, dtype=torch.int64, device=boxes.device).view(-1, 2)
    counts["matched"] = len(pairs)
    return Matches(chosen[:, 0], chosen[:, 1], overlap[chosen[:, 0], chosen[:, 1]], counts)
