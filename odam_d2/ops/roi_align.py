"""RoIAlign as the pair of small matrices that it is.

RoIAlign is linear and separable: the pooled cell (p, q) of an RoI is ``sum_ij rows[p, i] * columns[q, j] * A[i, j]``.
Knowing `rows` and `columns` turns a gradient on pooled features into a gradient on the feature map without
RoIAlign's own backward, restricted to the few cells under the box, and differentiable as often as one likes.

Shape letters: R RoIs, P pooled cells along one axis, S sample points per pooled cell, L cells of a window.
"""

import torch
from torch import Tensor


def roi_align_weights(
    low: Tensor, high: Tensor, size: int, bins: int, scale: float, sampling_ratio: int, aligned: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights of RoIAlign along one axis, on the window of cells that they touch.

    Follows torchvision's operator step by step in the precision of `low`, so that an adaptive number of sample points
    is rounded the same way.

    Args:
        low: (R,) float, where each RoI begins along this axis, in model-input pixels.
        high: (R,) float, where it ends.
        size: cells of the feature map along this axis.
        bins: P, pooled cells along this axis.
        scale: cells per model-input pixel, 1 / stride.
        sampling_ratio: sample points per pooled cell; 0 takes ``ceil(cells of the RoI / bins)``, RoI by RoI.
        aligned: True for ``ROIAlignV2`` (half-cell shift), False for ``ROIAlign`` (RoIs are at least one cell long).

    Returns:
        weights: (R, P, L), L the longest window among the RoIs; cells behind a shorter window hold 0.
        start: (R,) int64, the feature cell under ``weights[..., 0]``.
        length: (R,) int64, cells in each window; 0 where no sample point falls on the map.
    """
    begin = low * scale - (0.5 if aligned else 0.0)
    extent = high * scale - (0.5 if aligned else 0.0) - begin
    if not aligned:
        extent = extent.clamp(min=1.0)
    bin_size = extent / bins
    if sampling_ratio > 0:
        count = torch.full_like(begin, float(sampling_ratio))
    else:
        count = torch.ceil(extent / bins).clamp(min=0.0)

    most = int(count.max()) if count.numel() else 0
    step = torch.arange(most, device=low.device, dtype=low.dtype)
    used = step < count[:, None]  # (R, S)
    offset = (step + 0.5) * bin_size[:, None] / count.clamp(min=1.0)[:, None]
    bin_begin = torch.arange(bins, device=low.device, dtype=low.dtype) * bin_size[:, None]
    position = begin[:, None, None] + bin_begin[:, :, None] + offset[:, None, :]  # (R, P, S)
    inside = used[:, None, :] & (position >= -1.0) & (position <= size)

    position = position.clamp(min=0.0)
    first = position.floor().long().clamp(max=size - 1)
    second = (first + 1).clamp(max=size - 1)
    fraction = torch.where(first < size - 1, position - first, torch.zeros_like(position))
    share = inside.to(low.dtype) / count.clamp(min=1.0)[:, None, None]

    start, length = _touched_cells(first, second, inside, size)
    longest = int(length.max()) if length.numel() else 0
    # Points that do not count are parked on the window's first cell with weight 0.
    parked = start[:, None, None].expand_as(first)
    weights = low.new_zeros(len(low), bins, longest)
    if longest:
        for cell, weight in ((first, share * (1.0 - fraction)), (second, share * fraction)):
            index = torch.where(inside, cell, parked) - parked
            weights.scatter_add_(2, index.clamp(min=0), weight)
    return weights, start, length


def _touched_cells(first: Tensor, second: Tensor, inside: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """First cell and number of cells that the sample points of each RoI read; both 0 where none is on the map."""
    if first.shape[-1] == 0:
        none = torch.zeros(len(first), dtype=torch.int64, device=first.device)
        return none, none.clone()
    start = torch.where(inside, first, size).flatten(1).amin(1)
    stop = torch.where(inside, second, -1).flatten(1).amax(1) + 1
    hit = stop > start
    return torch.where(hit, start, 0), torch.where(hit, stop - start, 0)
