"""ODAM: gradient times features at every cell, for each instance."""

from torch import Tensor

from ...ops.cam import gradient_times_features
from ...structures import DetectionTrace, HeatMaps
from ..base import Explainer, register_method, smoothing_option
from ..center_prior import CenterPrior, why_no_center_prior
from ..weights_state import WeightsState
from ..windows import GradientWindows


@register_method("odam")
class ODAM(Explainer):
    """h = ReLU( sum_c Phi(G_c) * A_c ) on the level that produced the detection.

    Source: Zhao and Chan, ICLR 2023 (arXiv 2304.06354), equation 3. Departures from the public code: sides are
    those of the decoded box, outward, in pixels (not raw regression deltas), and Phi is the identity unless asked for.
    Which paths the gradient takes is the detector's to say: :class:`~odam_d2.meta_arch.detr.OdamDETR` leaves out what
    queries read of each other, unless its ``layer`` is ``encoder``.

    Args:
        args: as for :class:`Explainer`.
        smoothing: standard deviation of the Gaussian Phi as a fraction of the box's side; 0 for none.
        center_prior: whether each map is divided by the mean map of predictions drawn at random, see
            :mod:`odam_d2.explain.center_prior`; for detectors that predict at anchors or locations. It is measured at
            the first call, and again when weights have changed.

    Raises:
        ValueError: if `smoothing` is negative or not finite, or `center_prior` has no meaning for the detector.
    """

    linear = True

    def __init__(self, *args, smoothing: float = 0.0, center_prior: bool = False):
        super().__init__(*args)
        if not 0.0 <= smoothing < float("inf"):
            raise ValueError(f"`smoothing` must be a number >= 0; got {smoothing}: 0 leaves gradients as they are")
        reason = why_no_center_prior(self.model) if center_prior else None
        if reason:
            raise ValueError(
                f"`center_prior` must be False for this detector; got {center_prior}, but {reason}: leave it out"
            )
        self.smoothing = smoothing
        self.center_prior = center_prior
        self._prior: CenterPrior | None = None

    def combine(self, chunk: GradientWindows) -> Tensor:
        """See :meth:`Explainer.combine`."""
        return gradient_times_features(chunk.gradients, chunk.activations()[:, None])

    def heat_maps(self, trace: DetectionTrace) -> list[HeatMaps]:
        """The same maps, by the engine's own shortcut where it has one."""
        engine = self.choose_engine(trace)
        return engine.odam_maps(trace, self.attributes, **smoothing_option(self.smoothing))

    def finished(self, trace: DetectionTrace, maps: list[HeatMaps]) -> list[HeatMaps]:
        """Takes the center prior out, if asked for; see :meth:`Explainer.finished`."""
        if not (self.center_prior and len(trace)):
            return maps
        if self._prior is None or not self._prior.weights.is_same(WeightsState.of(self.model)):
            self._prior = CenterPrior.measure(self.model, self.heat_maps)
        return self._prior.taken_out(trace, maps)
