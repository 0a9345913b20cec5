"""Where the heat of a map lies: pointing, energy, compactness, overlap with the mask, sparsity.

Every function takes maps in the frame of the original image, normalised to [0, 1] or raw but not negative, on any
device. A map of all zeros points nowhere: it gets 0, the worst value that there is, but for :func:`compactness`, which
takes it for even heat; a map whose heat lies further from its maximum is worse.

Shape letters: R objects, (h, w) the image, T thresholds.
Source of the definitions: Zhao and Chan, ICLR 2023 (arXiv 2304.06354), section 4; the energy pointing game: Wang et
al., Score-CAM, CVPR Workshops 2020.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

VEA_THRESHOLDS = tuple(step / 10 for step in range(1, 10))


def inside_boxes(boxes: Tensor, height: int, width: int) -> Tensor:
    """The pixels whose centres lie in a box, left and top sides included.

    A box that lies between two rows of centres has the row that its own centre is in, and likewise with columns: else
    nothing could point at an object that is smaller than a pixel.

    Args:
        boxes: (R, 4) XYXY in pixels.
        height: h.
        width: w.

    Returns:
        (R, h, w) bool; nothing for a box outside the image.
    """
    rows = _between(boxes[:, 1], boxes[:, 3], height)
    columns = _between(boxes[:, 0], boxes[:, 2], width)
    return rows[:, :, None] & columns[:, None, :]


def pointing_game(maps: Tensor, inside: Tensor) -> Tensor:
    """Whether the maximum of each map lies inside [+].

    Args:
        maps: (R, h, w) float.
        inside: (R, h, w) bool, box or mask of each object.

    Returns:
        (R,) float32, 1 or 0. Of several maxima the first counts, row by row; a map of all zeros misses.
    """
    _check(maps, inside)
    if len(maps) == 0:
        return maps.new_zeros(0)
    flat = maps.flatten(1)
    peak, place = flat.max(1)
    # `max` may return any of several maxima.
    place = (flat == peak[:, None]).to(torch.uint8).argmax(1)
    hit = inside.flatten(1).gather(1, place[:, None])[:, 0]
    return (hit & (peak > 0)).float()


def energy_inside(maps: Tensor, inside: Tensor) -> Tensor:
    """The share of each map's sum that lies inside: the energy pointing game [+].

    Returns:
        (R,) float32 in [0, 1]; 0 for a map of all zeros.
    """
    _check(maps, inside)
    total = maps.double().sum((1, 2))
    within = (maps.double() * inside).sum((1, 2))
    return torch.where(total > 0, within / total.clamp(min=1e-300), 0.0).float()


def compactness(maps: Tensor, boxes: Tensor) -> Tensor:
    """How far the heat lies from its maximum, in units of half the box's diagonal [-].

    ``sqrt( sum H |p - p_max|^2 / ((w^2 + h^2) / 4 * sum H) )`` over pixels p, with (w, h) the size of the object's box.

    Args:
        maps: (R, h, w) float.
        boxes: (R, 4) XYXY in pixels of the same image.

    Returns:
        (R,) float32, 0 for all heat in one pixel; a map of all zeros counts as even heat with its maximum in the first
        pixel.
    """
    if len(maps) == 0:
        return maps.new_zeros(0)
    heat = maps.double()
    heat = torch.where(heat.amax((1, 2), keepdim=True) > 0, heat, 1.0)
    place = (heat.flatten(1) == heat.flatten(1).amax(1, keepdim=True)).to(torch.uint8).argmax(1)
    width = maps.shape[2]
    y = torch.arange(maps.shape[1], device=maps.device) - (place // width)[:, None]
    x = torch.arange(width, device=maps.device) - (place % width)[:, None]
    # The distance is a sum over the axes, so the heat of rows and of columns is all that is needed.
    spread = (heat.sum(2) * y.square()).sum(1) + (heat.sum(1) * x.square()).sum(1)
    size = (boxes[:, 2:] - boxes[:, :2]).double().square().sum(1) / 4
    return (spread / (size * heat.sum((1, 2)))).sqrt().float()


def visual_explanation_accuracy(maps: Tensor, masks: Tensor, thresholds: Sequence[float] = VEA_THRESHOLDS) -> Tensor:
    """IoU of ``H >= t`` with the mask at each threshold [+]; the mean over thresholds is the scalar.

    Args:
        maps: (R, h, w) float in [0, 1], normalised.
        masks: (R, h, w) bool.
        thresholds: T numbers in (0, 1].

    Returns:
        (R, T) float32; 0 for a map of all zeros.
    """
    _check(maps, masks)
    curves = []
    for threshold in thresholds:
        hot = maps >= threshold
        both, either = (hot & masks).sum((1, 2)), (hot | masks).sum((1, 2))
        curves.append(both / either.clamp(min=1))
    return torch.stack(curves, 1) if curves else maps.new_zeros(len(maps), 0)


def sparsity(maps: Tensor) -> Tensor:
    """Gini coefficient of each map's pixels [+]: 0 for even heat, near 1 for heat in a single pixel.

    Source: Hurley and Rickard, "Comparing measures of sparsity", IEEE Transactions on Information Theory 2009.

    Returns:
        (R,) float32 in [0, 1); 0 for a map of all zeros.
    """
    heat = maps.flatten(1).double().sort(1).values
    count = heat.shape[1]
    total = heat.sum(1)
    # 1 - 2 sum_k (H_k / sum H) (n - k + .5) / n over ascending H_k, k = 1 .. n
    weights = (count - torch.arange(1, count + 1, device=maps.device) + 0.5) / count
    share = (heat * weights).sum(1) / total.clamp(min=1e-300)
    return torch.where(total > 0, 1.0 - 2.0 * share, 0.0).float()


def _between(low: Tensor, high: Tensor, length: int) -> Tensor:
    """(R, length) bool: pixels along one axis with centres in ``[low, high)``, or else the one around the middle."""
    pixels = torch.arange(length, device=low.device)
    inside = (pixels + 0.5 >= low[:, None]) & (pixels + 0.5 < high[:, None])
    # Of what lies in the image.
    low, high = low.clamp(min=0.0), high.clamp(max=float(length))
    middle = ((low + high) / 2).floor().clamp(max=length - 1)
    lost = ~inside.any(1) & (low < high)
    return inside | (lost[:, None] & (pixels == middle[:, None]))


def _check(maps: Tensor, inside: Tensor) -> None:
    if maps.shape != inside.shape or maps.dim() != 3:
        raise ValueError(
            f"`maps` and the objects' pixels must both be (R, h, w); got {tuple(maps.shape)} and "
            f"{tuple(inside.shape)}: bring the maps to the image with HeatMaps.to_image"
        )
