"""ODAM: gradient times features at every cell, for each instance."""

from torch import Tensor

from ...ops.cam import gradient_times_features
from ...structures import DetectionTrace, HeatMaps
from ..base import Explainer, register_method, smoothing_option
from ..windows import GradientWindows


@register_method("odam")
class ODAM(Explainer):
    """h = ReLU( sum_c Phi(G_c) * A_c ) on the level that produced the detection.

    Source: Zhao and Chan, ICLR 2023 (arXiv 2304.06354), equation 3. Two departures from the public code: sides are
    those of the decoded box, outward, in pixels (not raw regression deltas), and Phi is the identity unless asked for.

    Args:
        args: as for :class:`Explainer`.
        smoothing: standard deviation of the Gaussian Phi as a fraction of the box's side; 0 for none.

    Raises:
        ValueError: if `smoothing` is negative or not finite.
    """

    linear = True

    def __init__(self, *args, smoothing: float = 0.0):
        super().__init__(*args)
        if not 0.0 <= smoothing < float("inf"):
            raise ValueError(f"`smoothing` must be a number >= 0; got {smoothing}: 0 leaves gradients as they are")
        self.smoothing = smoothing

    def combine(self, chunk: GradientWindows) -> Tensor:
        """See :meth:`Explainer.combine`."""
        return gradient_times_features(chunk.gradients, chunk.activations()[:, None])

    def heat_maps(self, trace: DetectionTrace) -> list[HeatMaps]:
        """The same maps, by the engine's own shortcut where it has one."""
        engine = self.choose_engine(trace)
        return engine.odam_maps(trace, self.attributes, **smoothing_option(self.smoothing))
