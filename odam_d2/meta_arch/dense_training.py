"""Odam-Train for dense detectors."""

import torch
from detectron2.config import configurable

from ..training.dense import DensePositives, DenseStep
from ..training.explained import require_independent_norms
from ..training.explanation_losses import ExplanationLosses
from ..training.views import Views
from ..utils.untyped import StockClass
from .training import training_arguments


class DenseTrainingMixin(StockClass):
    """Adds ``loss_odam_consistency`` and ``loss_odam_separation`` to the losses of a ``DenseDetector``.

    Put it in front of ``DenseTraceMixin`` and the stock class. The stock losses stay what they are.

    Args:
        odam_losses: computes the losses; None leaves the training step as it is.

    Raises:
        TypeError: if the head is not one that can be trained by explanations.
        ValueError: if a batch norm in the branch of the class logits lets anchors see each other, or `odam_losses`
            explains other views than the published ones, which two-stage detectors alone have.
    """

    _step: DenseStep | None = None

    @configurable
    def __init__(self, *, odam_losses: ExplanationLosses | None = None, **kwargs):
        super().__init__(**kwargs)
        self.odam_losses = odam_losses
        if odam_losses is not None:
            if odam_losses.views != Views():
                raise ValueError(
                    "ODAM.TRAIN's PROPOSALS, JITTERED, GIVEN, REPOOL, OWNER, ATTRIBUTE and LEARNABLE_GATES must be "
                    f"left as they are for a one-stage detector; got {odam_losses.views}: they are for RoIs"
                )
            head = self.traced_head()
            if head.unreadable:
                raise TypeError(
                    f"`head` must be one that trains by explanations; got {type(self.head).__name__}, and "
                    f"{head.unreadable}: set ODAM.TRAIN.WEIGHT to 0"
                )
            head.keep_class_branch()
            norms = [layer.norm for branch in head.branches for layer in branch.layers if layer.norm is not None]
            require_independent_norms(norms, "head")

    @classmethod
    def from_config(cls, cfg) -> dict:
        """Arguments of the stock class and ``odam_losses`` from a yaml config."""
        return {**super().from_config(cfg), **training_arguments(cfg)}

    def forward(self, batched_inputs: list[dict]):
        """The stock detector's: losses in training, results in inference."""
        if not self.training or self.odam_losses is None:
            return super().forward(batched_inputs)
        head = self.traced_head()
        head.keep_class_branch()
        self._step = DenseStep(head)
        try:
            with head.recording():
                return super().forward(batched_inputs)
        finally:
            self._step = None

    def label_anchors(self, anchors, gt_instances):
        """The stock detector's labels and boxes; both are remembered in a step that is explained."""
        labels, truths = super().label_anchors(anchors, gt_instances)
        if self._step is not None:
            self._step.anchors, self._step.labels, self._step.truths = list(anchors), labels, truths
        return labels, truths

    def forward_training(self, images, features, predictions, gt_instances) -> dict:
        """The stock detector's losses, and those on heat maps."""
        losses = super().forward_training(images, features, predictions, gt_instances)
        if self._step is None or self.odam_losses is None:
            return losses
        self._step.head.maps = predictions
        # Maps are small numbers, and so are their differences: half precision is not enough.
        with torch.autocast(self.device.type, enabled=False):
            explained = DensePositives(
                self,
                self._step,
                self.head_in_features,
                [level.to(torch.promote_types(level.dtype, torch.float32)) for level in features],
                [(int(h), int(w)) for h, w in images.image_sizes],
                tuple(images.tensor.shape[-2:]),
                self.odam_losses.second_order,
            )
            return {**losses, **self.odam_losses(explained)}
