"""The proposal network that remembers where its proposals came from."""

from __future__ import annotations

import torch
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN, ProposalNetwork
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.structures import Boxes, ImageList, Instances

from ..explain.checks import unwrap_detector
from ..modeling.rotated import refuse_rotated_boxes
from ..modeling.rpn import OdamRPN, TracedRPNHead
from ..structures import DetectionTrace
from .dense import AnchorTraceMixin, anchor_fits


@META_ARCH_REGISTRY.register()
class OdamProposalNetwork(AnchorTraceMixin, ProposalNetwork):
    """``ProposalNetwork`` with the same weights and the same proposals, and :meth:`trace` beside them.

    In a trace each proposal also reads as a detection of the one class 0: ``pred_boxes`` are the ``proposal_boxes``,
    ``scores`` the sigmoid of the ``objectness_logits``. ``score`` and ``objectness`` explain this sigmoid, ``logit``
    the logit. An explainer gives both: ``instances`` with the maps, and ``proposals`` as the stock network has them.
    """

    extra_attributes = ("objectness",)

    @classmethod
    def of(cls, rcnn: GeneralizedRCNN) -> OdamProposalNetwork:
        """The first stage of a two-stage detector as a network of its own, in eval mode; its modules are shared.

        Raises:
            TypeError: if the detector has no proposal generator that can be traced.
        """
        rcnn = unwrap_detector(rcnn)
        network = cls(
            backbone=rcnn.backbone,
            proposal_generator=OdamRPN.of(rcnn.proposal_generator),
            pixel_mean=rcnn.pixel_mean.flatten().tolist(),
            pixel_std=rcnn.pixel_std.flatten().tolist(),
        )
        return network.to(rcnn.device).eval()

    def preprocess_image(self, batched_inputs: list[dict]) -> ImageList:
        """Images normalised, padded and stacked, as the stock network's ``forward`` does."""
        images = [(x["image"].to(self.device) - self.pixel_mean) / self.pixel_std for x in batched_inputs]
        constraints = self.backbone.padding_constraints
        return ImageList.from_tensors(images, self.backbone.size_divisibility, padding_constraints=constraints)

    def trace(self, batched_inputs: list[dict], instances: list[Instances] | None = None) -> DetectionTrace:
        """See :meth:`AnchorTraceMixin.trace`; classes of given boxes don't matter and become 0."""
        if instances is not None:
            instances = [_without_classes(given) for given in instances]
        trace = super().trace(batched_inputs, instances)
        if instances is None:
            stock = ("proposal_boxes", "objectness_logits")
            trace.others = [
                {"proposals": Instances(one.image_size, **{name: one.get(name) for name in stock})}
                for one in trace.instances
            ]
        return trace

    def require_traceable(self) -> None:
        """Raises TypeError where the proposal generator keeps no trace."""
        refuse_rotated_boxes(self)
        generator = self.proposal_generator
        if not isinstance(generator, OdamRPN):
            raise TypeError(
                f"`proposal_generator` must keep a trace; got {type(generator).__name__}: set "
                "MODEL.PROPOSAL_GENERATOR.NAME to OdamRPN, or derive the class from it"
            )
        generator.require_traceable()

    def traced_head(self) -> TracedRPNHead:
        """See :meth:`AnchorTraceMixin.traced_head`."""
        return TracedRPNHead(self.proposal_generator)

    def anchor_parts(self) -> tuple[DefaultAnchorGenerator, tuple[str, ...], int]:
        """See :meth:`AnchorTraceMixin.anchor_parts`."""
        return self.proposal_generator.anchor_generator, tuple(self.proposal_generator.in_features), 1

    def find(self, images, levels: list, results, anchors: list[Boxes]) -> list[Instances]:
        """See :meth:`AnchorTraceMixin.find`."""
        del levels
        return self.proposal_generator.propose(anchors, results, images.image_sizes)

    def finish(self, result: Instances) -> Instances:
        """Lets proposals read as detections too."""
        result.pred_boxes = Boxes(result.proposal_boxes.tensor.clone())
        result.scores = result.objectness_logits.sigmoid()
        result.pred_classes = torch.zeros_like(result.scores, dtype=torch.int64)
        return result

    def match_given(self, boxes: torch.Tensor, anchors: list[Boxes]) -> torch.Tensor:
        """See :func:`anchor_fits`."""
        return anchor_fits(boxes, anchors, self.proposal_generator.anchor_matcher)


def _without_classes(given: Instances) -> Instances:
    """Boxes that a caller gives, all of class 0."""
    prefix = "pred" if given.has("pred_boxes") else "gt"
    if not given.has(f"{prefix}_boxes"):
        return given
    boxes = given.get(f"{prefix}_boxes")
    return Instances(given.image_size, pred_boxes=boxes, pred_classes=torch.zeros(len(boxes), dtype=torch.int64))
