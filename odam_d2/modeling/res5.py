"""The RoI heads of C4 detectors: the backbone's last stage runs on each RoI.

Shape letters: R RoIs over the batch, N images, C channels, P pooled cells.
"""

from collections.abc import Mapping

from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.modeling.roi_heads import Res5ROIHeads
from detectron2.structures import Instances
from torch import Tensor, nn

from ..utils.untyped import UntypedModule
from .pooled import BoxStage, TracedROIHeads


@ROI_HEADS_REGISTRY.register()
class OdamRes5ROIHeads(TracedROIHeads, Res5ROIHeads):
    """``Res5ROIHeads`` with the same weights and the same detections, which can also say where they came from."""

    inference_method = "forward"

    @property
    def box_in_features(self) -> list[str]:
        """The one level that RoIs are pooled from, under the name that other heads have for it."""
        return self.in_features

    def modules_on_rois(self) -> list[nn.Module]:
        """See :meth:`TracedROIHeads.modules_on_rois`."""
        blocks = list(self.res5) if type(self.res5) is nn.Sequential else [self.res5]
        return [*blocks, self.box_predictor]

    def run_box_stage(self, number: int, pooled: Tensor) -> tuple[UntypedModule, tuple[Tensor, Tensor]]:
        """See :meth:`TracedROIHeads.run_box_stage`."""
        del number
        return self.box_predictor, self.box_predictor(self.res5(pooled).mean(dim=[2, 3]))

    def run_box_stages(self, features: Mapping[str, Tensor], proposals: list[Instances]) -> list[BoxStage]:
        """See :meth:`TracedROIHeads.run_box_stages`."""
        pooled = self.pool(features, [p.proposal_boxes for p in proposals], self.pooler)
        return [BoxStage(self.pooler, proposals, pooled, *self.run_box_stage(0, pooled))]
