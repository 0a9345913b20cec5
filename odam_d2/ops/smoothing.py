"""Phi of the ODAM paper: a Gaussian over the gradient, as small matrices along each axis.

Shape letters: R detections, P pooled cells, L cells of a window.
"""

import torch
from torch import Tensor


def gaussian_weights(sigma: Tensor, size: int, other: int, shift: int) -> Tensor:
    """One axis of a Gaussian smoothing as a matrix from `size` cells to `other` cells.

    The kernel is cut at three sigma (rounded up) and sums to one; what it spreads beyond the cells is lost, as with
    zero padding.

    Args:
        sigma: (R,) standard deviation in cells; 0 copies.
        size: cells of the input.
        other: cells of the output.
        shift: output cell o lies at input cell ``o - shift``.

    Returns:
        (R, size, other).
    """
    distance = (
        torch.arange(other, device=sigma.device)[None, :] - shift - torch.arange(size, device=sigma.device)[:, None]
    ).abs()
    radius = torch.ceil(3.0 * sigma)
    most = int(radius.max()) if radius.numel() else 0
    safe = sigma.clamp(min=1e-3)[:, None]
    taps = torch.arange(most + 1, device=sigma.device)
    kernel = torch.exp(-0.5 * (taps / safe) ** 2) * (taps <= radius[:, None])  # one side, (R, most + 1)
    total = 2.0 * kernel.sum(1, keepdim=True) - kernel[:, :1]
    kernel = kernel / total
    weights = kernel[:, distance.clamp(max=most)]
    return weights * (distance <= most)


def smooth_window_weights(
    weights: Tensor, start: Tensor, length: Tensor, sigma: Tensor, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """RoIAlign's weights along one axis with the Gaussian multiplied in, on the windows that this widens.

    Smoothing and RoIAlign are both linear and separable, so smoothing the weights smooths the gradient.

    Args:
        weights: (R, P, L) from :func:`odam_d2.ops.roi_align.roi_align_weights`.
        start: (R,) int64, first cell of each window.
        length: (R,) int64, cells of each window.
        sigma: (R,) float, standard deviation in cells.
        size: cells of the feature map along this axis.

    Returns:
        weights, start and length of the wider windows, cut at the map's border.
    """
    radius = torch.ceil(3.0 * sigma).long()
    most = int(radius.max()) if radius.numel() else 0
    longest = weights.shape[-1]
    wide = torch.bmm(weights, gaussian_weights(sigma, longest, longest + 2 * most, most))
    hit = length > 0
    new_start = torch.where(hit, (start - radius).clamp(min=0), 0)
    new_length = torch.where(hit, (start + length + radius).clamp(max=size) - new_start, 0)
    # Column j of the wide weights is map cell start - most + j; bring each window's own first cell to column 0.
    column = torch.arange(wide.shape[-1], device=weights.device)
    source = (new_start - start + most)[:, None] + column
    used = (column < new_length[:, None])[:, None, :]
    index = source.clamp(max=wide.shape[-1] - 1)[:, None, :].expand_as(wide)
    wide = wide.gather(2, index) * used
    return wide[..., : int(new_length.max()) if len(new_length) else 0], new_start, new_length
