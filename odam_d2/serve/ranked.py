"""An explainer that also tells which classes a detection might have been.

Shape letters: D detections over the batch, R of an image, K classes.
"""

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.structures import Instances
from torch import Tensor

from ..explain import Explainer
from ..explain.guarded import GuardedExplainer
from ..structures import DetectionTrace, HeatMaps

CLASS_SCORES = "class_scores"
_WITH_CENTERNESS = 6  # outputs of a location: class, four sides, centerness


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
        scores = _class_scores(trace, trace.head.class_vectors(trace))
        return list(zip(maps, scores.split(counts), strict=True))

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


def _class_scores(trace: DetectionTrace, vectors: Tensor) -> Tensor:
    """(D, K): what each detection would score as any class, from what the head says of the classes alone."""
    if len(getattr(trace.head, "layout", ())) < _WITH_CENTERNESS:
        return vectors
    # The score is the root of class and centerness, and the place has one centerness for all classes.
    scores = torch.cat([one.scores for one in trace.instances])[:, None].to(vectors)
    own = vectors.gather(1, trace.classes[:, None])
    return (vectors / own.clamp_min(torch.finfo(own.dtype).tiny)).sqrt() * scores
