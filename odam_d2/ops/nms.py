"""Removing duplicate detections: by how far boxes overlap, and by how alike their explanations are.

Shape letters: R boxes of one image, K of them kept.
"""

from typing import Protocol

import torch
from torch import Tensor
from torchvision.ops import box_iou

# Up to this many boxes ``batched_nms`` moves those of different classes apart and compares them all at once; more, it
# takes class by class.
_MOVED_AT_MOST = {"cpu": 1_000}
_MOVED_AT_MOST_ELSEWHERE = 25_000

SOFT_METHODS = ("linear", "gaussian")


class HasSimilarity(Protocol):
    """What can say how alike the maps of its R detections are, such as ``HeatMaps``."""

    def similarity(self) -> Tensor:
        """(R, R) cosines."""
        ...


def odam_nms(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor,
    similarity: Tensor | HasSimilarity,
    iou_threshold: float,
    low: float,
    high: float,
) -> Tensor:
    """Odam-NMS: a box that overlaps a better one stays if their maps differ, one that doesn't goes if they are alike.

    Walks the boxes of a class by falling score. Box j survives a kept box i if and only if
    ``IoU <= iou_threshold and similarity < high`` or ``IoU > iou_threshold and similarity < low``.

    Source: Zhao and Chan, ICLR 2023 (arXiv 2304.06354), section on Odam-NMS. Published values are .6, .3, .7 for Faster
    R-CNN and .5, .2, .8 for FCOS. With ``low=-1, high=2`` it is torchvision's ``batched_nms``: same indices, on CPUs to
    the last tie (see :func:`class_overlaps`), for coordinates >= 0 as that function wants them. Boxes of different
    classes never meet, also below 0.

    Args:
        boxes: (R, 4) XYXY, any unit.
        scores: (R,); of equal scores the first counts as the best.
        classes: (R,) integers.
        similarity: (R, R) how alike the maps of every two boxes are, or an object whose ``similarity()`` says it.
        iou_threshold: T in the paper, in [0, 1].
        low: T_l, in [-1, 2], at most `high`.
        high: T_h, in [-1, 2].

    Returns:
        (K,) int64 indices of the kept boxes by falling score, on the device of `boxes`.

    Raises:
        ValueError: if an argument is not usable; the message names it.
    """
    check_thresholds(iou_threshold, low, high)
    check_boxes(boxes, scores, classes)
    alike = similarity if isinstance(similarity, Tensor) else similarity.similarity()
    if alike.shape != (len(boxes), len(boxes)) or bool(alike.isnan().any()):
        got = "NaN" if alike.shape == (len(boxes), len(boxes)) else str(tuple(alike.shape))
        raise ValueError(
            f"`similarity` must be (R, R) = ({len(boxes)}, {len(boxes)}) numbers; got {got}: give the similarity of "
            "these boxes' maps, in their order"
        )
    order = scores.sort(descending=True, stable=True).indices
    iou, same = class_overlaps(boxes[order], classes[order])
    kept = order[greedy_walk(duplicates(iou, alike[order[:, None], order], iou_threshold, low, high) & same)]
    if _moves_apart(boxes):
        return kept
    # Class by class, batched_nms sorts what it kept once more, and leaves the order of equal scores to torch.
    kept = kept.sort().values
    return kept[scores[kept].sort(descending=True).indices]


def class_overlaps(boxes: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """IoU of every two boxes, rounded as ``batched_nms`` rounds it, and which two are of one class.

    Both only subtract, multiply, add and divide, in one order, and what a single one of these gives doesn't depend on
    where in a tensor it is done. That holds where the compiler of torchvision's kernel fused no two of them: on x86.
    Elsewhere, and on GPUs, an IoU may differ in its last bit, which matters where it lies on the threshold.

    Args:
        boxes: (R, 4) XYXY.
        classes: (R,) integers.

    Returns:
        (R, R) float, which holds anything for boxes of different classes, NaN for two without area; (R, R) bool.
    """
    boxes = moved_apart(boxes, classes)
    return box_iou(boxes, boxes), classes[:, None] == classes


def moved_apart(boxes: Tensor, classes: Tensor) -> Tensor:
    """(R, 4) boxes where ``batched_nms`` compares them: those of different classes apart, if they are not too many.

    Args:
        boxes: (R, 4) XYXY.
        classes: (R,) integers.
    """
    boxes = boxes if boxes.dtype in (torch.float32, torch.float64) else boxes.float()
    if len(boxes) and _moves_apart(boxes):
        boxes = boxes + (classes.to(boxes) * (boxes.max() + 1))[:, None]
    return boxes


def duplicates(iou: Tensor, similarity: Tensor, iou_threshold: float, low: float, high: float) -> Tensor:
    """Which of every two boxes of a class don't survive beside each other, by the rule of :func:`odam_nms`.

    Args:
        iou: (R, R); NaN counts as no overlap.
        similarity: (R, R).
        iou_threshold: T.
        low: T_l.
        high: T_h.

    Returns:
        (R, R) bool.
    """
    # Thresholds are meant as they are written: in single precision .6 is a little more. So does torchvision on CPUs.
    precise = iou.double() if iou.device.type == "cpu" else iou
    alike = similarity.double()
    return torch.where(precise > iou_threshold, alike >= low, alike >= high)


def greedy_walk(suppresses: Tensor) -> Tensor:
    """Keeps the first box, drops what it suppresses, keeps the next that is left, and so on.

    Args:
        suppresses: (R, R) bool, whether the box of the row, if kept, drops the box of the column; best boxes first.

    Returns:
        (K,) int64 ascending, the kept ones.
    """
    # On a GPU each step would wait for the one before.
    survives = ~suppresses.cpu()
    alive = torch.ones(len(survives), dtype=torch.bool)
    for row in range(len(survives)):
        if alive[row]:
            alive[row + 1 :] &= survives[row, row + 1 :]
    return alive.nonzero()[:, 0].to(suppresses.device)


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor,
    method: str = "linear",
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    min_score: float = 1e-3,
    most: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Soft-NMS: boxes that overlap a better one of their class lose score in place of being dropped.

    Again and again the best box is taken, and the scores of the others are multiplied by ``1 - IoU`` where IoU is above
    the threshold (linear), or by ``exp(-IoU^2 / sigma)`` (gaussian).

    Source: Bodla et al., ICCV 2017 (arXiv 1704.04503), equations 2 and 3; the defaults are the paper's.

    Args:
        boxes: (R, 4) XYXY, any unit.
        scores: (R,) >= 0.
        classes: (R,) integers.
        method: ``linear`` or ``gaussian``.
        iou_threshold: N_t, in [0, 1]; for ``linear``.
        sigma: > 0; for ``gaussian``.
        min_score: in [0, 1]; boxes whose score falls to it or below are dropped.
        most: stop when so many are kept, which are the best; None for no bound.

    Returns:
        (K,) int64 indices of the kept boxes by falling decayed score, and (K,) these scores, in the type of `scores`.

    Raises:
        ValueError: if an argument is not usable; the message names it.
    """
    if method not in SOFT_METHODS:
        raise ValueError(f"`method` must be one of {list(SOFT_METHODS)}; got {method!r}: choose one of these")
    check_range("iou_threshold", iou_threshold, 0.0, 1.0)
    check_soft(boxes, scores, classes, sigma, min_score)
    iou, same = class_overlaps(boxes.detach().cpu().double(), classes.cpu())
    iou = torch.where(same, iou, 0.0).nan_to_num(0.0)
    linear = torch.where(iou > iou_threshold, 1.0 - iou, 1.0)
    decay = linear if method == "linear" else torch.exp(-iou.square() / sigma)
    return decaying_walk(decay, scores, min_score, most)


def decaying_walk(decay: Tensor, scores: Tensor, min_score: float, most: int | None) -> tuple[Tensor, Tensor]:
    """Takes the best box, multiplies the scores of the others, takes the best that is left, and so on.

    Args:
        decay: (R, R) float64 in [0, 1], what the box of the row, once taken, multiplies the score of the column's by.
        scores: (R,) >= 0.
        min_score: boxes whose score falls to it or below are dropped.
        most: stop when so many are taken; None for no bound.

    Returns:
        (K,) int64 indices in the order in which they were taken, and (K,) their scores then, on the device of `scores`.
    """
    current = scores.detach().cpu().double()
    kept: list[int] = []
    decayed: list[float] = []
    while len(kept) < (len(scores) if most is None else min(most, len(scores))):
        best = int(current.argmax())
        value = float(current[best])
        if value <= min_score:
            break
        kept.append(best)
        decayed.append(value)
        current = current * decay[best]
        current[best] = -1.0  # below every score, and so it stays
    indices = torch.tensor(kept, dtype=torch.int64, device=scores.device)
    return indices, torch.tensor(decayed, dtype=scores.dtype, device=scores.device)


def check_thresholds(iou_threshold: float, low: float, high: float) -> None:
    """Raises ValueError where the thresholds of :func:`odam_nms` are out of range or order."""
    check_range("iou_threshold", iou_threshold, 0.0, 1.0)
    check_range("low", low, -1.0, 2.0)
    check_range("high", high, -1.0, 2.0)
    if low > high:
        raise ValueError(f"`low` must be at most `high`; got low={low} and high={high}: exchange them")


def check_soft(boxes: Tensor, scores: Tensor, classes: Tensor, sigma: float, min_score: float) -> None:
    """Raises ValueError where the arguments of a way that decays scores are out of range."""
    if not 0.0 < sigma < float("inf"):
        raise ValueError(f"`sigma` must be a number > 0; got {sigma}: .5 is usual")
    check_range("min_score", min_score, 0.0, 1.0)
    check_boxes(boxes, scores, classes)
    if bool((scores < 0).any()):
        raise ValueError(f"`scores` must be at least 0; got {float(scores.min())}: give probabilities, not logits")


def _moves_apart(boxes: Tensor) -> bool:
    return len(boxes) <= _MOVED_AT_MOST.get(boxes.device.type, _MOVED_AT_MOST_ELSEWHERE)


def check_range(name: str, value: float, least: float, most: float) -> None:
    """Raises ValueError where the argument `name` isn't in [least, most]."""
    if not least <= value <= most:
        raise ValueError(f"`{name}` must be in [{least:g}, {most:g}]; got {value}: choose a value between")


def check_boxes(boxes: Tensor, scores: Tensor, classes: Tensor) -> None:
    """Raises ValueError where these aren't (R, 4) finite corners, (R,) numbers and (R,) classes."""
    if boxes.dim() != 2 or boxes.shape[1] != 4:
        raise ValueError(f"`boxes` must be (R, 4); got {tuple(boxes.shape)}: give x1, y1, x2, y2 of each")
    for name, values in (("scores", scores), ("classes", classes)):
        if values.shape != (len(boxes),):
            raise ValueError(
                f"`{name}` must be (R,) = ({len(boxes)},); got {tuple(values.shape)}: give one for each of `boxes`"
            )
    if bool(scores.isnan().any()):
        index = int(scores.isnan().nonzero()[0, 0])
        raise ValueError(f"`scores` must be numbers; got NaN for box {index}: drop such boxes")
    wrong = ~torch.isfinite(boxes).all(1)
    if bool(wrong.any()):
        index = int(wrong.nonzero()[0, 0])
        raise ValueError(f"`boxes` must be finite; got {boxes[index].tolist()} for box {index}: drop such boxes")
    wrong = (boxes[:, 2:] < boxes[:, :2]).any(1)
    if bool(wrong.any()):
        index = int(wrong.nonzero()[0, 0])
        raise ValueError(
            f"`boxes` must have x1 <= x2 and y1 <= y2; got {boxes[index].tolist()} for box {index}: give corners as "
            "XYXY, not x, y, width, height"
        )
