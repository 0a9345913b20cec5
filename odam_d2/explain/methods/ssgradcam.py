"""Spatial Sensitive Grad-CAM: Grad-CAM's weights, times where in each channel the gradient is."""

from torch import Tensor

from ...ops.cam import gradient_times_features
from ...ops.channel_weights import mean_weights, spatial_sensitivity
from ..base import Explainer, register_method
from ..windows import GradientWindows


@register_method("ssgradcam")
class SSGradCAM(Explainer):
    """h = ReLU( sum_c w_c S_c * A_c ), w_c the mean of G_c over the level, S_c = abs(G_c) / max abs(G_c).

    Source: Yamauchi and Ishikawa, Spatial Sensitive Grad-CAM, ICIP 2022. Departures are those of
    :class:`~odam_d2.explain.methods.gradcam.GradCAM`; the mean is over all H * W cells, those of the padding included.
    """

    def combine(self, chunk: GradientWindows) -> Tensor:
        """See :meth:`Explainer.combine`."""
        height, width = chunk.grid
        weights = mean_weights(chunk.gradients, height * width)[..., None, None]
        return gradient_times_features(weights * spatial_sensitivity(chunk.gradients), chunk.activations()[:, None])
