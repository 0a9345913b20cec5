"""What each method of a comparison costs."""

from collections.abc import Mapping, Sequence

from detectron2.structures import Instances

from ...explain import MethodComparison
from ...structures import DetectionTrace, HeatMaps
from ...utils.clock import now


class TimedComparison(MethodComparison):
    """Explains the same detections by several methods one after the other, and takes the time of each.

    The trace is shared and not part of the time; gradients are computed for each method anew, so that it pays for its
    own. Results hold ``seconds`` besides: method -> seconds for a detection; nothing where no maps were wanted.
    """

    _seconds: Mapping[str, float] = {}

    @classmethod
    def of(cls, comparison: MethodComparison) -> "TimedComparison":
        """The same comparison with a clock."""
        timed = cls(comparison.model, comparison.attributes, comparison.choose_engine, comparison.explainers)
        timed.wanted = comparison.wanted
        return timed

    def explain(  # type: ignore[override]  # as in MethodComparison
        self, trace: DetectionTrace, batched_inputs: list[dict], instances: list[Instances] | None
    ) -> Sequence[Mapping[str, HeatMaps | None]]:
        """See :meth:`MethodComparison.explain`."""
        # Else images that nobody wants would get what the ones before took.
        self._seconds = {}
        return super().explain(trace, batched_inputs, instances)

    def explain_wanted(
        self, trace: DetectionTrace, batched_inputs: list[dict], instances: list[Instances] | None
    ) -> list[dict[str, HeatMaps]]:
        """See :meth:`MethodComparison.explain_wanted`."""
        maps, seconds = {}, {}
        for name, one in self.explainers.items():
            start = now()
            maps[name] = one.explain(trace, batched_inputs, instances)
            seconds[name] = (now() - start) / max(len(trace), 1)
        self._seconds = seconds
        return [dict(zip(maps, image, strict=True)) for image in zip(*maps.values(), strict=True)]

    def result(  # type: ignore[override]  # as in MethodComparison
        self, found: Instances, heatmaps: Mapping[str, HeatMaps | None], number: int
    ) -> dict:
        """See :meth:`MethodComparison.result`."""
        return {**super().result(found, heatmaps, number), "seconds": dict(self._seconds)}
