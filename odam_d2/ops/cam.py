"""What the ODAM map is the positive part of: gradient times features, summed over channels.

Source: Zhao and Chan, ODAM, ICLR 2023 (arXiv 2304.06354), equation 3: h = ReLU( sum_c Phi(G_c) * A_c ). The ReLU is
left to the caller, since maps of several levels are added before it.

Shape letters: R detections, K attributes, C channels, (H, W) the grid, P x Q pooled cells, L_y x L_x a window.
"""

import torch
from torch import Tensor


def gradient_times_features(gradients: Tensor, activations: Tensor) -> Tensor:
    """The sum over channels from gradients on the grid, or on a window of it.

    Args:
        gradients: (..., C, H, W), d target / d activations, smoothed or not.
        activations: (..., C, H, W), broadcastable against `gradients`.

    Returns:
        (..., H, W), signed.
    """
    return (gradients * activations).sum(-3)


def pooled_gradient_times_features(
    pooled_gradients: Tensor, rows: Tensor, columns: Tensor, activations: Tensor
) -> Tensor:
    """The same sum from gradients on RoI-pooled features, without ever forming the gradient on the grid.

    With G_c = rows^T g_c columns, the sum over channels is taken row by row while the columns are still P wide:
    ``h[y, x] = sum_q columns[q, x] * sum_c (rows^T g_c)[y, q] * A_c[y, x]``.

    Args:
        pooled_gradients: (R, K, C, P, Q), gradients of K attributes on the pooled features.
        rows: (R, P, L_y), RoIAlign's weights along y (smoothed if the gradient is to be).
        columns: (R, Q, L_x), along x.
        activations: (R, L_y, L_x, C), the features in each window, channels last; what stands behind a window's end
            does not matter, as the weights are zero there.

    Returns:
        (R, K, L_y, L_x), signed.
    """
    num, attributes, channels, bins_y, bins_x = pooled_gradients.shape
    height, width = activations.shape[1:3]
    by_row = pooled_gradients.permute(0, 3, 2, 1, 4).reshape(num, bins_y, channels * attributes * bins_x)
    by_row = torch.bmm(rows.transpose(1, 2), by_row)  # (R, L_y, C * K * Q)
    by_row = by_row.view(num * height, channels, attributes * bins_x)
    summed = torch.bmm(activations.reshape(num * height, width, channels), by_row)  # (R * L_y, L_x, K * Q)
    summed = summed.view(num, height, width, attributes, bins_x)
    return torch.einsum("ryxkq,rqx->rkyx", summed, columns)


def weighted_features(weights: Tensor, features: Tensor, image_index: Tensor) -> Tensor:
    """A class activation map on the whole level: the features of each instance's image, weighted a channel at a time.

    Args:
        weights: (R, K, C), a number for each channel.
        features: (N, C, H, W) of the level.
        image_index: (R,) int64, the image of each instance.

    Returns:
        (R, K, H, W), signed.
    """
    maps = weights.new_empty(*weights.shape[:2], *features.shape[-2:])
    for number in image_index.unique().tolist():
        mine = image_index == number
        maps[mine] = torch.einsum("rkc,chw->rkhw", weights[mine], features[number])
    return maps
