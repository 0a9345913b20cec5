"""ODAM: gradient times features at every cell, for each instance."""

from torch import Tensor

from ...ops.cam import gradient_times_features
from ...structures import DetectionTrace, HeatMaps
from ..base import Explainer, register_method
from ..windows import GradientWindows


@register_method("odam")
class ODAM(Explainer):
    """h = ReLU( sum_c Phi(G_c) * A_c ) on the level that produced the detection.

    Source: Zhao and Chan, ICLR 2023 (arXiv 2304.06354), equation 3. Two departures from the public code: sides are
    those of the decoded box, outward, in pixels (not raw regression deltas), and Phi is the identity unless asked for.
    """

    linear = True
    smooths = True

    def combine(self, chunk: GradientWindows) -> Tensor:
        """See :meth:`Explainer.combine`."""
        return gradient_times_features(chunk.gradients, chunk.activations()[:, None])

    def heat_maps(self, trace: DetectionTrace) -> list[HeatMaps]:
        """The same, by whatever the engine has that is quicker."""
        return self.choose_engine(trace).odam_maps(trace, self.attributes, self.smoothing)
