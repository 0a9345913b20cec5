"""Grad-CAM++: one weight a channel, from its positive gradients."""

from torch import Tensor

from ...ops.cam import weighted_features
from ...ops.channel_weights import plus_plus_weights
from ..base import Explainer, register_method
from ..windows import GradientWindows


@register_method("gradcam++")
class GradCAMPlusPlus(Explainer):
    """h = ReLU( sum_c w_c A_c ), w_c = sum over cells of ReLU(G_c) / (2 + S_c G_c), S_c the sum of A_c.

    Source: Chattopadhay et al., WACV 2018 (arXiv 1710.11063), equations 10 and 19: the attribute is taken through an
    exponential, whose value is one factor of the whole map and left out. Two departures: the map covers the level that
    the detection came from, and S_c is the sum of A_c's positive part. That is the paper's S_c for features that come
    out of a ReLU; an FPN's don't, and the paper's weights would have poles.
    """

    whole_level = True

    def combine(self, chunk: GradientWindows) -> Tensor:
        """See :meth:`Explainer.combine`."""
        weights = plus_plus_weights(chunk.gradients, chunk.positive_totals())
        return weighted_features(weights, chunk.features, chunk.image_index)
