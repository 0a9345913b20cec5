"""The RoI heads of Cascade R-CNN: three box heads, each on the boxes of the one before.

Shape letters: R RoIs over the batch, N images, C channels, P pooled cells.
"""

from collections.abc import Mapping, Sequence

from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.modeling.roi_heads import CascadeROIHeads
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from ..utils.untyped import UntypedModule
from .pooled import BoxStage, TracedROIHeads


@ROI_HEADS_REGISTRY.register()
class OdamCascadeROIHeads(TracedROIHeads, CascadeROIHeads):
    """``CascadeROIHeads`` with the same weights and the same detections, which can also say where they came from.

    The reported score is the mean over the stages, so all of them are sources of ``score`` and ``logit``; the box is
    the last stage's alone. A stage's boxes are constants for the next, as they are in training.
    """

    inference_method = "_forward_box"

    def modules_on_rois(self) -> list[nn.Module]:
        """See :meth:`TracedROIHeads.modules_on_rois`."""
        return [*self.box_head, *self.box_predictor]

    def run_box_stage(self, number: int, pooled: Tensor) -> tuple[UntypedModule, tuple[Tensor, Tensor]]:
        """See :meth:`TracedROIHeads.run_box_stage`."""
        predictor = self.box_predictor[number]
        return predictor, predictor(self.box_head[number](pooled))

    def run_box_stages(self, features: Mapping[str, Tensor], proposals: list[Instances]) -> list[BoxStage]:
        """See :meth:`TracedROIHeads.run_box_stages`."""
        stages: list[BoxStage] = []
        for number in range(self.num_cascade_stages):
            if stages:
                boxes = stages[-1].predictor.predict_boxes(stages[-1].outputs, proposals)
                proposals = _as_proposals(boxes, [p.image_size for p in proposals])
            pooled = self.pool(features, [p.proposal_boxes for p in proposals], self.box_pooler)
            stages.append(BoxStage(self.box_pooler, proposals, pooled, *self.run_box_stage(number, pooled)))
        return stages

    def say_all(self, stages: list[BoxStage]) -> tuple[list[Tensor], list[Tensor]]:
        """See :meth:`TracedROIHeads.say_all`: boxes of the last stage, the mean of all stages' scores."""
        said = [stage.predictor.predict_probs(stage.outputs, stage.proposals) for stage in stages]
        # The stock expression on tensors of the stock shapes, so that it rounds as the stock one does.
        scores = [sum(list(one)) * (1.0 / self.num_cascade_stages) for one in zip(*said, strict=True)]
        last = stages[-1]
        return list(last.predictor.predict_boxes(last.outputs, last.proposals)), scores


def _as_proposals(boxes: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]) -> list[Instances]:
    """Boxes of one stage as the RoIs of the next, as in inference, in training too: empty ones stay, so rows do."""
    proposals = []
    for box, size in zip(boxes, image_sizes, strict=True):
        clipped = Boxes(box.detach())
        clipped.clip(size)
        proposals.append(Instances(size, proposal_boxes=clipped))
    return proposals
