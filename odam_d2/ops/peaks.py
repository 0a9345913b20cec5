"""Gaussians around the places where gradients are largest.

Shape letters: R detections, K attributes, C channels, (H, W) the grid of the level, h x w a window.
"""

import torch
from torch import Tensor

# Cells whose gradient comes this near to the channel's largest share the peak: RoIAlign gives neighbours equal
# gradients, among which rounding would choose.
TIED = 1.0 - 1e-3


def peak_places(gradients: Tensor) -> tuple[Tensor, Tensor]:
    """Where ``abs(G_c)`` is largest, for each channel; of several such cells their middle.

    Args:
        gradients: (R, K, C, h, w).

    Returns:
        Rows and columns in the window, (R, K, C) float each; meaningless for a channel without gradient.
    """
    size = gradients.abs()
    tied = (size >= TIED * size.amax((-2, -1), keepdim=True)).to(gradients.dtype)
    count = tied.sum((-2, -1))
    rows = torch.arange(gradients.shape[-2], device=gradients.device, dtype=gradients.dtype)
    columns = torch.arange(gradients.shape[-1], device=gradients.device, dtype=gradients.dtype)
    return (tied.sum(-1) * rows).sum(-1) / count, (tied.sum(-2) * columns).sum(-1) / count


def gaussian_weighted_features(
    weights: Tensor, rows: Tensor, columns: Tensor, sigma: Tensor, features: Tensor, image_index: Tensor
) -> Tensor:
    """``sum_c w_c N_c A_c`` on the whole level, N_c a Gaussian of height 1 around each channel's own place.

    One map at a time: all of them with all channels would not fit.

    Args:
        weights: (R, K, C).
        rows: (R, K, C) row of each Gaussian's centre, in cells of the level.
        columns: (R, K, C) its column.
        sigma: (R, 2) standard deviations along y, x in cells, positive.
        features: (N, C, H, W) of the level.
        image_index: (R,) int64, the image of each detection.

    Returns:
        (R, K, H, W), signed.
    """
    count, attributes = weights.shape[:2]
    height, width = features.shape[-2:]
    maps = weights.new_empty(count, attributes, height, width)
    y = torch.arange(height, device=weights.device)
    x = torch.arange(width, device=weights.device)
    for r, image in enumerate(image_index.tolist()):
        for k in range(attributes):
            along_y = torch.exp(-0.5 * ((y - rows[r, k, :, None]) / sigma[r, 0]) ** 2)  # (C, H)
            along_x = torch.exp(-0.5 * ((x - columns[r, k, :, None]) / sigma[r, 1]) ** 2)  # (C, W)
            by_row = weights[r, k, :, None] * along_y
            maps[r, k] = (features[image] * by_row[:, :, None] * along_x[:, None, :]).sum(0)
    return maps
