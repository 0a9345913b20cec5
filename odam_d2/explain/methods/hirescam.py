"""HiResCAM: gradient times features, as in ODAM."""

from torch import Tensor

from ...ops.cam import gradient_times_features
from ..base import Explainer, register_method
from ..windows import GradientWindows


@register_method("hirescam")
class HiResCAM(Explainer):
    """h = ReLU( sum_c G_c * A_c ): the same as ODAM without smoothing.

    Source: Draelos and Carin, 2020 (arXiv 2011.08891), made for the last layer of classifiers. Departure: where a
    detection depends on several levels, their maps are added in the image before the ReLU, as in ODAM. Since it always
    computes gradients on the grid, it is also a check of ODAM's shortcuts.
    """

    linear = True

    def combine(self, chunk: GradientWindows) -> Tensor:
        """See :meth:`Explainer.combine`."""
        return gradient_times_features(chunk.gradients, chunk.activations()[:, None])
