"""RoIAlign as a weighted sum of the cells it reads, which is several times quicker on a CPU than the operator.

Shape letters: R RoIs over the batch, r of them at a time, N images, C channels, (H, W) the grid of a level, (P, Q)
pooled cells, L cells of an RoI's window along an axis, T or U of them that one pooled cell reads along y or x.
"""

from collections.abc import Iterator

import torch
from detectron2.layers import ROIAlign
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels, convert_boxes_to_pooler_format
from detectron2.structures import Boxes
from torch import Tensor
from torch.nn import functional as F

from ..ops.roi_align import roi_align_weights

# Cells that are looked up together: bounds memory, and they stay in the cache.
_LOOKUPS_AT_ONCE = 2**19


class LookupROIPooler(ROIPooler):
    """``ROIPooler`` of ``ROIAlign``: equal to it to rounding, by ``embedding_bag`` on features with channels last.

    Boxes, weights and sums are float32, also under autocast. There Detectron2's own rounds the boxes to the type of the
    features first, bfloat16 to whole pixels and more, so this one is nearer to single precision. For inference: boxes
    get no gradient. Boxes must be finite.
    """

    @classmethod
    def of(cls, pooler: ROIPooler) -> "LookupROIPooler | None":
        """The same pooler done this way; None if it is not just RoIAlign on levels, and can't be."""
        levels = pooler.level_poolers
        if type(pooler) is not ROIPooler or any(type(level) is not ROIAlign for level in levels):
            return None
        return cls(
            levels[0].output_size,
            [level.spatial_scale for level in levels],
            levels[0].sampling_ratio,
            "ROIAlignV2" if levels[0].aligned else "ROIAlign",
            pooler.canonical_box_size,
            pooler.canonical_level,
        )

    def forward(self, x: list[Tensor], box_lists: list[Boxes]) -> Tensor:
        """Pools.

        Args:
            x: levels (N, C, H, W).
            box_lists: N Boxes in model-input pixels, R together.

        Returns:
            (R, C, P, Q) in the type of the features.
        """
        rois = convert_boxes_to_pooler_format(box_lists).float()
        levels = assign_boxes_to_levels(
            box_lists, self.min_level, self.max_level, self.canonical_box_size, self.canonical_level
        )
        pooled = rois.new_zeros(len(rois), self.output_size[0] * self.output_size[1], x[0].shape[1])
        for level, (feature, pooler) in enumerate(zip(x, self.level_poolers, strict=True)):
            rows = (levels == level).nonzero()[:, 0]
            cells = feature.permute(0, 2, 3, 1).reshape(-1, feature.shape[1]).float()
            for part, index, weights in _lookups(rois[rows], pooler, *feature.shape[-2:]):
                sums = F.embedding_bag(index, cells, per_sample_weights=weights, mode="sum")
                pooled[rows[part]] = sums.view(len(part), -1, cells.shape[1])
        return pooled.transpose(1, 2).unflatten(2, self.output_size).to(x[0].dtype)


def _lookups(rois: Tensor, pooler: ROIAlign, height: int, width: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Which cells of a level's (N * H * W) make up the pooled cells of (R, 5) RoIs, some RoIs at a time.

    Yields:
        (r,) int64 rows of `rois`; (r * P * Q, T * U) int32 cells; the same of float32 weights.
    """
    if not len(rois):
        return
    place = (pooler.spatial_scale, pooler.sampling_ratio, pooler.aligned)
    (bins_y, bins_x), number = pooler.output_size, rois[:, 0].long()
    y, of_y = _read_along(*roi_align_weights(rois[:, 2], rois[:, 4], height, bins_y, *place)[:2])
    x, of_x = _read_along(*roi_align_weights(rois[:, 1], rois[:, 3], width, bins_x, *place)[:2])
    y = y + number[:, None, None] * height
    at_once = max(1, _LOOKUPS_AT_ONCE // (y[0].numel() * x[0].numel()))
    for part in torch.arange(len(rois), device=rois.device).split(at_once):
        index = (y[part] * width)[:, :, None, :, None] + x[part][:, None, :, None, :]
        weights = of_y[part][:, :, None, :, None] * of_x[part][:, None, :, None, :]
        pooled = len(part) * bins_y * bins_x
        yield part, index.view(pooled, -1).int(), weights.view(pooled, -1)


def _read_along(weights: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Of the weights of :func:`odam_d2.ops.roi_align.roi_align_weights` only those of cells that a pooled cell reads.

    Args:
        weights: (R, P, L).
        start: (R,) int64, the cell under the first weight.

    Returns:
        (R, P, T) int64 cells along the axis, and their weights; places that are left over name a cell that is read
        anyway, if any is, with weight 0, so that what is not read doesn't count even where it is NaN.
    """
    if weights.shape[2] == 0:
        weights = weights.new_zeros(*weights.shape[:2], 1)
    used = weights != 0
    place = torch.arange(weights.shape[2], device=weights.device)
    first = used.int().argmax(2)
    last = torch.where(used, place, 0).amax(2)
    most = int((last - first).amax()) + 1
    cells = torch.minimum(first[..., None] + place[:most], torch.maximum(last, first)[..., None])
    repeated = first[..., None] + place[:most] > last[..., None]
    return start[:, None, None] + cells, weights.gather(2, cells).masked_fill(repeated, 0.0)
