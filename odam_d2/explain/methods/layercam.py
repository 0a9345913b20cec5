"""LayerCAM: positive gradient times features."""

from torch import Tensor

from ...ops.cam import gradient_times_features
from ..base import Explainer, register_method
from ..windows import GradientWindows


@register_method("layercam")
class LayerCAM(Explainer):
    """h = ReLU( sum_c ReLU(G_c) * A_c ) at every cell.

    Source: Jiang et al., LayerCAM, IEEE Transactions on Image Processing, 2021. Departure: the map is of
    the level that the detection came from; maps of several layers are not fused by their maximum.
    """

    def combine(self, chunk: GradientWindows) -> Tensor:
        """See :meth:`Explainer.combine`."""
        return gradient_times_features(chunk.gradients.clamp(min=0.0), chunk.activations()[:, None])
