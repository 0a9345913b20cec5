"""What each method of a comparison costs."""

from __future__ import annotations

from detectron2.structures import Instances

from ...explain import MethodComparison
from ...explain.compare import ComparedMaps
from ...structures import DetectionTrace
from ...utils.clock import now


class TimedComparison(MethodComparison):
    """Explains the same detections by several methods one after the other, and takes the time of each.

    The trace is shared and not part of the time; gradients are computed for each method anew, so that it pays for its
    own. Results have one more key, ``seconds``: method -> seconds for a detection; empty where no maps were wanted.
    """

    @classmethod
    def of(cls, comparison: MethodComparison) -> TimedComparison:
        """The same comparison with a clock."""
        timed = cls(comparison.model, comparison.attributes, comparison.choose_engine, comparison.explainers)
        timed.wanted = comparison.wanted
        return timed

    def explain_wanted(
        self, trace: DetectionTrace, batched_inputs: list[dict], instances: list[Instances] | None
    ) -> list[ComparedMaps]:
        """See :meth:`MethodComparison.explain_wanted`."""
        maps, seconds = {}, {}
        for name, one in self.explainers.items():
            start = now()
            maps[name] = one.explain(trace, batched_inputs, instances)
            seconds[name] = (now() - start) / max(len(trace), 1)
        return ComparedMaps.of_images(maps, seconds)

    def result(self, found: Instances, explanation: ComparedMaps, number: int) -> dict:
        """See :meth:`MethodComparison.result`."""
        return {**super().result(found, explanation, number), "seconds": explanation.seconds}
