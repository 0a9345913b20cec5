"""What the CAM methods make of gradients before these meet the features.

Gradients come in windows of the level, outside of which they are zero: sums over a window are sums over the level.

Shape letters: R detections, K attributes, C channels, (H, W) the grid of the level, h x w a window.
"""

import torch
from torch import Tensor


def mean_weights(gradients: Tensor, cells: int) -> Tensor:
    """Grad-CAM's weights: the mean of the gradient over `cells` cells.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017 (arXiv 1610.02391), equation 1.

    Args:
        gradients: (R, K, C, h, w), zero outside the window.
        cells: number of cells that the mean is over, H * W for the whole level.

    Returns:
        (R, K, C).
    """
    return gradients.sum((-2, -1)) / cells


def plus_plus_weights(gradients: Tensor, totals: Tensor) -> Tensor:
    """Grad-CAM++'s weights: the sum of the positive gradients, each by a share that falls as it grows.

    With y taken through an exponential its derivatives are powers of G, so that the share of a cell is
    ``G^2 / (2 G^2 + S G^3) = 1 / (2 + S G)``, S the sum of the channel's features. Only cells with G > 0 count.

    Source: Chattopadhay et al., Grad-CAM++, WACV 2018 (arXiv 1710.11063), equations 10 and 19.

    Args:
        gradients: (R, K, C, h, w), zero outside the window.
        totals: (R, C), S, not negative: for features without a ReLU behind them the sum of their positive part, since
            the share has a pole at S G = -2.

    Returns:
        (R, K, C), not negative.
    """
    positive = gradients.clamp(min=0.0)
    return (positive / (2.0 + totals[:, None, :, None, None] * positive)).sum((-2, -1))


def spatial_sensitivity(gradients: Tensor) -> Tensor:
    """How much a cell matters to a channel: ``|G_c| / max |G_c|``; zero for a channel without gradient.

    Source: Yamauchi and Ishikawa, Spatial Sensitive Grad-CAM, ICIP 2022.

    Args:
        gradients: (R, K, C, h, w).

    Returns:
        (R, K, C, h, w) in [0, 1].
    """
    size = gradients.abs()
    largest = size.amax((-2, -1), keepdim=True)
    return torch.where(largest > 0, size / torch.where(largest > 0, largest, 1.0), 0.0)
