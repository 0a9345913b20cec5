"""Soft Odam-NMS: scores decay by the overlap of boxes and the likeness of their maps, and no box is dropped outright.

Shape letters: R boxes of one image, K of them kept.
"""

import torch
from torch import Tensor

from .nms import check_soft, class_overlaps, decaying_walk


def soft_odam_nms(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor,
    similarity: Tensor,
    weight: float = 0.75,
    sigma: float = 2.0,
    min_score: float = 1e-3,
    most: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Soft-NMS whose overlap is the IoU plus the weighted similarity of the maps.

    Again and again the best box is taken, and the scores of the others of its class that overlap it at all are
    multiplied by ``exp(-(IoU + weight * similarity)^2 / sigma)``. With ``weight=0`` it is the gaussian
    :func:`odam_d2.ops.nms.soft_nms`. Ours: neither the paper on Odam-NMS nor that on Soft-NMS has it.

    Args:
        boxes: (R, 4) XYXY, any unit.
        scores: (R,) >= 0.
        classes: (R,) integers.
        similarity: (R, R) how alike the maps of every two boxes are, symmetric; what stands there for boxes of
            different classes is not looked at.
        weight: >= 0.
        sigma: > 0.
        min_score: in [0, 1]; boxes whose score falls to it or below are dropped.
        most: stop when so many are kept, which are the best; None for no bound.

    Returns:
        (K,) int64 indices of the kept boxes by falling decayed score, and (K,) these scores, in the type of `scores`.

    Raises:
        ValueError: if an argument is not usable; the message names it.
    """
    check_decay(weight, sigma)
    check_soft(boxes, scores, classes, sigma, min_score)
    if similarity.shape != (len(boxes), len(boxes)):
        raise ValueError(
            f"`similarity` must be (R, R) = ({len(boxes)}, {len(boxes)}); got {tuple(similarity.shape)}: give that of "
            "these boxes' maps, in their order"
        )
    iou, same = class_overlaps(boxes.detach().cpu().double(), classes.cpu())
    iou = iou.nan_to_num(0.0)
    together = iou + weight * similarity.detach().cpu().double()
    decay = torch.where(same & (iou > 0), torch.exp(-together.square() / sigma), 1.0)
    return decaying_walk(decay, scores, min_score, most)


def check_decay(weight: float, sigma: float) -> None:
    """Raises ValueError where these are out of range."""
    if not 0.0 <= weight < float("inf"):
        raise ValueError(f"`weight` must be a number >= 0; got {weight}: 0 leaves the maps out")
    if not 0.0 < sigma < float("inf"):
        raise ValueError(f"`sigma` must be a number > 0; got {sigma}: 2 is usual")
