"""Spatial Sensitive Grad-CAM++: Grad-CAM++'s weights, times where in each channel the gradient is."""

from torch import Tensor

from ...ops.cam import gradient_times_features
from ...ops.channel_weights import plus_plus_weights, spatial_sensitivity
from ..base import Explainer, register_method
from ..windows import GradientWindows


@register_method("ssgradcam++")
class SSGradCAMPlusPlus(Explainer):
    """h = ReLU( sum_c w_c S_c * A_c ), w_c as in Grad-CAM++, S_c = abs(G_c) / max abs(G_c).

    Source: Yamauchi, Spatial Sensitive Grad-CAM++, CVPR Workshops 2024. Departure: the weights are those of
    :class:`~odam_d2.explain.methods.gradcam_pp.GradCAMPlusPlus` as they stand there, combined with the spatial
    sensitivity of SSGrad-CAM; the paper's own choice of weights may differ in detail.
    """

    def combine(self, chunk: GradientWindows) -> Tensor:
        """See :meth:`Explainer.combine`."""
        weights = plus_plus_weights(chunk.gradients, chunk.positive_totals())[..., None, None]
        return gradient_times_features(weights * spatial_sensitivity(chunk.gradients), chunk.activations()[:, None])
