"""G-CAME: Grad-CAM's weights, each channel under a Gaussian around the maximum of its gradient."""

from torch import Tensor

from ...ops.channel_weights import mean_weights
from ...ops.peaks import gaussian_weighted_features, peak_places
from ..base import Explainer, register_method
from ..windows import GradientWindows

# Half a cell: a narrower Gaussian would cover its centre only.
LEAST_SIGMA = 0.5


@register_method("gcame")
class GCAME(Explainer):
    """h = ReLU( sum_c w_c N_c * A_c ), w_c the mean of G_c over the level, N_c a Gaussian where abs(G_c) is largest.

    Source: Nguyen et al., G-CAME: Gaussian-Class Activation Mapping Explainer for Object Detectors, 2023. Departure:
    the paper derives each Gaussian's width from the gradient; here it is a fixed share of the box's side on the grid,
    along y and x, and at least half a cell. Where cells tie for the maximum, their middle is taken.

    Args:
        args: as for :class:`Explainer`.
        width: standard deviation of the Gaussians as a fraction of the box's side.

    Raises:
        ValueError: if `width` is not positive.
    """

    whole_level = True

    def __init__(self, *args, width: float = 0.25):
        super().__init__(*args)
        if not 0.0 < width < float("inf"):
            raise ValueError(f"`width` must be a number > 0; got {width}: it is a fraction of the box's side")
        self.width = width

    def combine(self, chunk: GradientWindows) -> Tensor:
        """See :meth:`Explainer.combine`."""
        height, width = chunk.grid
        weights = mean_weights(chunk.gradients, height * width)
        rows, columns = peak_places(chunk.gradients)
        rows, columns = rows + chunk.windows[:, 0, None, None], columns + chunk.windows[:, 1, None, None]
        sides = (chunk.boxes[:, 2:] - chunk.boxes[:, :2]).flip(1) / chunk.strides
        sigma = (self.width * sides).clamp(min=LEAST_SIGMA)
        return gaussian_weighted_features(weights, rows, columns, sigma, chunk.features, chunk.image_index)
