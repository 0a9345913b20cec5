"""HiResCAM: gradient times features, as in ODAM."""

from torch import Tensor

from ...ops.cam import gradient_times_features
from ..base import Explainer, register_method
from ..windows import GradientWindows


@register_method("hirescam")
class HiResCAM(Explainer):
    """h = ReLU( sum_c G_c * A_c ): the same as ODAM without smoothing wherever one level speaks for a detection.

    Source: Draelos and Carin, 2020 (arXiv 2011.08891), made for the last layer of classifiers. Departure: where several
    levels speak their maps are added in the image before the ReLU, so that the two are the same there too. Computed
    from gradients on the grid, it is also a check of the shorter ways that ODAM's maps come by.
    """

    linear = True

    def combine(self, chunk: GradientWindows) -> Tensor:
        """See :meth:`Explainer.combine`."""
        return gradient_times_features(chunk.gradients, chunk.activations()[:, None])
