"""Which detection is which object: the one greedy matching of reports, metrics and crowds.

Shape letters: R detections, G objects of one image.
"""

from dataclasses import dataclass

import numpy as np
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


def match_greedily(
    overlap: np.ndarray, scores: np.ndarray, iou_threshold: float, at_threshold: bool = False
) -> np.ndarray:
    """Greedy one-to-one matching: by falling score, each detection takes the free object that it overlaps most.

    Args:
        overlap: (R, G) IoU of detections with objects; -1 where the two may not be a pair, e.g. of different classes.
        scores: (R,); of equal ones the earlier row chooses first. Of objects that overlap equally the first is taken.
        iou_threshold: a pair must overlap by more than this.
        at_threshold: whether an overlap of just `iou_threshold` is enough.

    Returns:
        (R,) int64: the object of each detection, -1 for none.
    """
    # In double precision, so that the threshold means the same for overlaps of any type.
    free = overlap.astype(np.float64)  # a copy
    found = np.full(len(free), -1, dtype=np.int64)
    if free.size == 0:
        return found
    for row in np.argsort(-scores, kind="stable"):
        best = int(free[row].argmax())
        if free[row, best] > iou_threshold or (at_threshold and free[row, best] == iou_threshold):
            found[row] = best
            free[:, best] = -1
    return found


def match_detections(
    boxes: Tensor, scores: Tensor, classes: Tensor, true_boxes: Tensor, true_classes: Tensor, iou_threshold: float
) -> Matches:
    """:func:`match_greedily` for detections and objects with classes, which counts what became of the detections.

    Args:
        boxes: (R, 4) XYXY, in the frame of `true_boxes`.
        scores: (R,).
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
    found = torch.from_numpy(match_greedily(_array(allowed), _array(scores), iou_threshold))
    order = scores.argsort(descending=True, stable=True).cpu()
    rows = order[found[order] >= 0].to(boxes.device)
    objects = found.to(boxes.device)[rows]
    unmatched = (found < 0).to(boxes.device)
    reachable = (allowed.double() > iou_threshold).any(1)
    counts = {
        "objects": len(true_boxes),
        "detections": len(boxes),
        "no_object_of_class": int((unmatched & ~same_class.any(1)).sum()),
        "low_iou": int((unmatched & same_class.any(1) & ~reachable).sum()),
        "taken": int((unmatched & reachable).sum()),
        "matched": len(rows),
    }
    return Matches(rows, objects, overlap[rows, objects], counts)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
