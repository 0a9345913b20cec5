"""An explainer that also tells which classes a detection might have been.

Shape letters: D detections over the batch, R of an image, K classes.
"""

from collections.abc import Sequence
from typing import Any

from detectron2.structures import Instances
from torch import Tensor

from ..explain import Explainer
from ..explain.guarded import GuardedExplainer
from ..structures import DetectionTrace, HeatMaps

CLASS_SCORES = "class_scores"


class RankedExplainer(GuardedExplainer[tuple[HeatMaps, Tensor | None]]):
    """Explains as another explainer does, and keeps the scores of all classes, for the price of one trace.

    Args:
        explainer: what explains.
    """

    def __init__(self, explainer: Explainer):
        super().__init__(explainer.model, explainer.attributes)
        self.explainer = explainer
        self.uses_gradients = explainer.uses_gradients

    def explain(
        self, trace: DetectionTrace, batched_inputs: list[dict], instances: list[Instances] | None
    ) -> Sequence[tuple[HeatMaps, Tensor | None]]:
        """The maps of each image, and (R, K) scores where the head tells them."""
        maps = self.explainer.explain(trace, batched_inputs, instances)
        if not hasattr(trace.head, "class_vectors"):
            return [(one, None) for one in maps]
        counts = [len(found) for found in trace.instances]
        return list(zip(maps, trace.head.class_vectors(trace).split(counts), strict=True))

    def step_down(self) -> bool:
        """See :meth:`GuardedExplainer.step_down`."""
        stepped = self.explainer.step_down()
        self.model = self.explainer.model
        return stepped

    def result(self, found: Instances, explanation: tuple[HeatMaps, Tensor | None], number: int) -> dict[str, Any]:
        """As the explainer's, with ``class_scores`` as a further field where they are known."""
        maps, scores = explanation
        if scores is not None and len(scores) == len(found):
            found.set(CLASS_SCORES, scores)
        return self.explainer.result(found, maps, number)
