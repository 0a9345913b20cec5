"""Odam-Train for two-stage detectors."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from detectron2.config import configurable

from ..training.explained import require_independent_norms
from ..training.explanation_losses import ExplanationLosses
from ..training.roi import RoIPositives
from ..utils.threads import in_this_thread
from ..utils.untyped import StockClass
from .training import training_arguments


class RCNNTrainingMixin(StockClass):
    """Adds ``loss_odam_consistency`` and ``loss_odam_separation`` to the losses of a ``GeneralizedRCNN``.

    Put it in front of the stock class. The stock losses stay what they are. Faster, Mask and Cascade R-CNN inherit it.

    Args:
        odam_losses: computes the losses; None leaves the training step as it is.

    Raises:
        TypeError: if the RoI heads keep no trace.
        ValueError: if a batch norm in the RoI heads lets RoIs see each other.
    """

    @configurable
    def __init__(self, *, odam_losses: ExplanationLosses | None = None, **kwargs):
        super().__init__(**kwargs)
        self.odam_losses = odam_losses
        if odam_losses is not None:
            self.require_traceable()
            require_independent_norms(self.roi_heads.modules_on_rois(), "roi_heads")

    @classmethod
    def from_config(cls, cfg) -> dict:
        """Arguments of the stock class and ``odam_losses`` from a yaml config."""
        return {**super().from_config(cfg), **training_arguments(cfg)}

    def forward(self, batched_inputs: list[dict]):
        """The stock detector's: losses in training, results in inference."""
        if not self.training or self.odam_losses is None:
            return super().forward(batched_inputs)
        with self._watching() as seen:
            losses = super().forward(batched_inputs)
        images, features = seen[:2]
        # Maps are small numbers, and so are their differences: half precision is not enough.
        with torch.autocast(self.device.type, enabled=False):
            explained = RoIPositives(
                self,
                {k: level.to(torch.promote_types(level.dtype, torch.float32)) for k, level in features.items()},
                self.odam_losses.views.choose(self.roi_heads),
                tuple(images.tensor.shape[-2:]),
                self.odam_losses.second_order,
                self.odam_losses.views,
                self.roi_heads.targets,
            )
            self.roi_heads.forget_samples()
            return {**losses, **self.odam_losses(explained)}

    @contextmanager
    def _watching(self) -> Iterator[list]:
        """Inside, a list that gets what the RoI heads are called with; they keep their samples."""
        seen: list = []
        keep = in_this_thread(lambda _heads, inputs: seen.extend(inputs))
        handle = self.roi_heads.register_forward_pre_hook(keep)
        self.roi_heads.keeps_samples = True
        try:
            yield seen
        finally:
            self.roi_heads.keeps_samples = False
            handle.remove()
