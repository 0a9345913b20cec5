"""The ODAM map: gradient times features, summed over channels, negative parts cut off.

Source: Zhao and Chan, ODAM, ICLR 2023 (arXiv 2304.06354), equation 3: h = ReLU( sum_c Phi(G_c) * A_c ).

Shape letters: R detections, K attributes, C channels, (H, W) the grid, P x Q pooled cells, L_y x L_x a window.
"""

import torch
from torch import Tensor


def odam(gradients: Tensor, activations: Tensor) -> Tensor:
    """The map from gradients on the whole grid.

    Args:
        gradients: (..., C, H, W), d target / d activations, smoothed or not.
        activations: (..., C, H, W), broadcastable against `gradients`.

    Returns:
        (..., H, W), not negative, not normalised.
    """
    return (gradients * activations).sum(-3).clamp(min=0.0)


def odam_from_pooled(pooled_gradients: Tensor, rows: Tensor, columns: Tensor, activations: Tensor) -> Tensor:
    """The same map from gradients on RoI-pooled features, without ever forming the gradient on the grid.

    With G_c = rows^T g_c columns, the sum over channels is taken row by row while the columns are still P wide:
    ``h[y, x] = ReLU( sum_q columns[q, x] * sum_c (rows^T g_c)[y, q] * A_c[y, x] )``.

    Args:
        pooled_gradients: (R, K, C, P, Q), gradients of K attributes on the pooled features.
        rows: (R, P, L_y), RoIAlign's weights along y (smoothed if the gradient is to be).
        columns: (R, Q, L_x), along x.
        activations: (R, L_y, L_x, C), the features in each window, channels last; what stands behind a window's end
            does not matter, as the weights are zero there.

    Returns:
        (R, K, L_y, L_x), not negative, not normalised.
    """
    num, attributes, channels, bins_y, bins_x = pooled_gradients.shape
    height, width = activations.shape[1:3]
    by_row = pooled_gradients.permute(0, 3, 2, 1, 4).reshape(num, bins_y, channels * attributes * bins_x)
    by_row = torch.bmm(rows.transpose(1, 2), by_row)  # (R, L_y, C * K * Q)
    by_row = by_row.view(num * height, channels, attributes * bins_x)
    summed = torch.bmm(activations.reshape(num * height, width, channels), by_row)  # (R * L_y, L_x, K * Q)
    summed = summed.view(num, height, width, attributes, bins_x)
    return torch.einsum("ryxkq,rqx->rkyx", summed, columns).clamp(min=0.0)
