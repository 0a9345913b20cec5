"""The RoI heads of Faster and Mask R-CNN that remember which proposal each detection came from.

Shape letters: R RoIs over the batch, N images, C channels, P pooled cells.
"""

from collections.abc import Mapping

from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.modeling.roi_heads import StandardROIHeads
from detectron2.structures import Instances
from torch import Tensor, nn

from ..utils.untyped import UntypedModule
from .pooled import BoxStage, TracedROIHeads


@ROI_HEADS_REGISTRY.register()
class OdamStandardROIHeads(TracedROIHeads, StandardROIHeads):
    """``StandardROIHeads`` with the same weights and the same detections, which can also say where they came from."""

    inference_method = "_forward_box"

    def modules_on_rois(self) -> list[nn.Module]:
        """See :meth:`TracedROIHeads.modules_on_rois`."""
        return [self.box_head, self.box_predictor]

    def run_box_stage(self, number: int, pooled: Tensor) -> tuple[UntypedModule, tuple[Tensor, Tensor]]:
        """See :meth:`TracedROIHeads.run_box_stage`."""
        del number
        return self.box_predictor, self.box_predictor(self.box_head(pooled))

    def run_box_stages(self, features: Mapping[str, Tensor], proposals: list[Instances]) -> list[BoxStage]:
        """See :meth:`TracedROIHeads.run_box_stages`."""
        pooled = self.pool(features, [p.proposal_boxes for p in proposals], self.box_pooler)
        return [BoxStage(self.box_pooler, proposals, pooled, *self.run_box_stage(0, pooled))]
