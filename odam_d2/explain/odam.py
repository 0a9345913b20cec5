"""ODAM: gradient times features at every cell, for each instance."""

from ..structures import DetectionTrace, HeatMaps
from .base import Explainer, register_method


@register_method("odam")
class ODAM(Explainer):
    """h = ReLU( sum_c Phi(G_c) * A_c ) on the level that produced the detection.

    Source: Zhao and Chan, ICLR 2023 (arXiv 2304.06354), equation 3. Two departures from the public code: sides are
    those of the decoded box, outward, in pixels (not raw regression deltas), and Phi is the identity unless asked for.
    """

    def heat_maps(self, trace: DetectionTrace) -> list[HeatMaps]:
        """N HeatMaps of the traced detections."""
        return self.choose_engine(trace).odam_maps(trace, self.attributes, self.smoothing)
