"""DIoU-NMS: overlap less the distance of the boxes' centres.

Shape letters: R boxes of one image, K of them kept.
"""

import torch
from torch import Tensor
from torchvision.ops import box_iou

from .nms import check_boxes, check_range, greedy_walk


def diou_nms(boxes: Tensor, scores: Tensor, classes: Tensor, iou_threshold: float) -> Tensor:
    """Drops a box whose IoU with a better one of its class, less their distance, is above the threshold.

    The distance is the square of that between the centres, divided by the square of the diagonal of the smallest box
    around both.

    Source: Zheng et al., AAAI 2020 (arXiv 1911.08287), equation 12, with beta = 1.

    Args:
        boxes: (R, 4) XYXY, any unit.
        scores: (R,); of equal scores the first counts as the best.
        classes: (R,) integers.
        iou_threshold: in [-1, 1].

    Returns:
        (K,) int64 indices of the kept boxes by falling score, on the device of `boxes`.

    Raises:
        ValueError: if an argument is not usable; the message names it.
    """
    check_range("iou_threshold", iou_threshold, -1.0, 1.0)
    check_boxes(boxes, scores, classes)
    order = scores.sort(descending=True, stable=True).indices
    placed, labels = boxes[order].double(), classes[order]
    least = torch.minimum(placed[:, None, :2], placed[None, :, :2])
    most = torch.maximum(placed[:, None, 2:], placed[None, :, 2:])
    centers = (placed[:, :2] + placed[:, 2:]) / 2
    # Not torchvision's distance_box_iou, which is NaN for two boxes without area, wherever they are.
    apart = (centers[:, None] - centers).square().sum(2) / (most - least).square().sum(2)
    alike = box_iou(placed, placed).nan_to_num(0.0) - apart.nan_to_num(0.0)
    return order[greedy_walk((alike > iou_threshold) & (labels[:, None] == labels))]
