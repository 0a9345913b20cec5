"""Matrix-NMS: every score decays at once, by how far better boxes overlap the box and were overlapped themselves.

Shape letters: R boxes of one image.
"""

import torch
from torch import Tensor
from torchvision.ops import box_iou

from .nms import check_boxes

METHODS = ("linear", "gaussian")


def matrix_nms(
    boxes: Tensor, scores: Tensor, classes: Tensor, method: str = "gaussian", sigma: float = 2.0
) -> tuple[Tensor, Tensor]:
    """Decays each score by ``min over better boxes i of f(IoU(i, j)) / f(most IoU of i with a better one)``.

    ``f`` is ``1 - IoU`` (linear) or ``exp(-sigma * IoU^2)`` (gaussian).

    Source: Wang et al., SOLOv2, NeurIPS 2020 (arXiv 2003.10152), equations 4 and 5; there of masks, here of boxes. A
    box that equals a better one (IoU 1) has no score left in the linear form; what it overlaps counts as if it weren't
    there, where the paper divides by zero.

    Args:
        boxes: (R, 4) XYXY, any unit.
        scores: (R,) >= 0; of equal scores the first counts as the better one.
        classes: (R,) integers.
        method: ``linear`` or ``gaussian``.
        sigma: > 0; for ``gaussian``.

    Returns:
        (R,) int64 indices by falling decayed score, and (R,) these scores, in the type of `scores`. No box is dropped.

    Raises:
        ValueError: if an argument is not usable; the message names it.
    """
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {list(METHODS)}; got {method!r}: choose one of these")
    if not 0.0 < sigma < float("inf"):
        raise ValueError(f"`sigma` must be a number > 0; got {sigma}: 2 is usual")
    check_boxes(boxes, scores, classes)
    if len(boxes) == 0:
        return torch.zeros(0, dtype=torch.int64, device=boxes.device), scores
    order = scores.sort(descending=True, stable=True).indices
    placed, labels = boxes[order].double(), classes[order]
    # Row i, column j: the overlap of a better box i with box j.
    overlap = box_iou(placed, placed).nan_to_num(0.0).triu(1) * (labels[:, None] == labels)
    before = overlap.amax(0)
    if method == "linear":
        ratio = (1.0 - overlap) / (1.0 - before)[:, None]
        ratio = torch.where(before[:, None] < 1.0, ratio, 1.0)
    else:
        ratio = torch.exp(sigma * (before.square()[:, None] - overlap.square()))
    # Only better boxes decay a score, and each by a factor of at most 1: the pairs below the diagonal have none.
    decay = torch.where(overlap > 0, ratio, 1.0).amin(0).clamp(max=1.0)
    decayed = scores[order].double() * decay
    again = decayed.sort(descending=True, stable=True).indices
    return order[again], decayed[again].to(scores.dtype)
