"""Grad-CAM: one weight a channel, over the whole level or over the box alone."""

import torch
from torch import Tensor

from ...ops.cam import weighted_features
from ...ops.channel_weights import mean_weights
from ...ops.maps import centres_inside
from ..base import Explainer, register_method
from ..windows import GradientWindows


@register_method("gradcam")
class GradCAM(Explainer):
    """h = ReLU( sum_c w_c A_c ), w_c the mean of G_c over the level: alike for all instances of a class.

    Source: Selvaraju et al., ICCV 2017 (arXiv 1610.02391), equations 1 and 2; the class-specific baseline of the ODAM
    paper. The mean is over all H * W cells of the level that the detection came from, those of the padding included,
    and the map covers the level. Departure: A is a level of the detector's features, which need not come out of a
    ReLU.
    """

    whole_level = True
    linear = True

    def combine(self, chunk: GradientWindows) -> Tensor:
        """See :meth:`Explainer.combine`."""
        height, width = chunk.grid
        weights = mean_weights(chunk.gradients, height * width)
        return weighted_features(weights, chunk.features, chunk.image_index)


@register_method("gradcam_box")
class BoxGradCAM(Explainer):
    """Grad-CAM in the box: w_c the mean of G_c over the cells under the box, and the map is zero outside of them.

    Source: as :class:`GradCAM`; the restriction turns it into a map of one instance. A cell is under the box if its
    centre is inside. Along an axis with no centre inside, the cell that holds the box's middle is taken, so that every
    box has at least one cell.
    """

    whole_level = True
    linear = True

    def combine(self, chunk: GradientWindows) -> Tensor:
        """See :meth:`Explainer.combine`."""
        boxes, (height, width) = chunk.boxes, chunk.gradients.shape[-2:]
        rows, columns = (
            centres_inside(boxes[:, 1 - axis], boxes[:, 3 - axis], chunk.strides[axis], chunk.grid[axis]).float()
            for axis in (0, 1)
        )
        within = _window_of(rows, chunk.windows[:, 0], height), _window_of(columns, chunk.windows[:, 1], width)
        total = torch.einsum("nkcyx,ny,nx->nkc", chunk.gradients, *within)
        weights = total / (rows.sum(1) * columns.sum(1))[:, None, None]
        maps = weighted_features(weights, chunk.features, chunk.image_index)
        return maps * rows[:, None, :, None] * columns[:, None, None, :]


def _window_of(marks: Tensor, start: Tensor, length: int) -> Tensor:
    """(n, length) of (n, cells) marks from each window's first cell; cells beyond the grid meet no gradient."""
    index = start[:, None] + torch.arange(length, device=start.device)
    return marks.gather(1, index.clamp(max=marks.shape[1] - 1))
