"""A Detectron2 backbone in the place of a query detector's own."""

from collections.abc import Sequence

import torch
from detectron2.modeling.backbone import Backbone
from torch import Tensor, nn


class Detectron2Backbone(nn.Module):
    """Speaks for a Detectron2 backbone the way transformers' convolutional encoders speak.

    The backbone itself stays where it is registered, so that its weights keep their usual names, ``backbone.*``.

    Args:
        backbone: gives a map for each of its names.
        in_features: the names to hand on, fine to coarse.
    """

    def __init__(self, backbone: Backbone, in_features: Sequence[str]):
        super().__init__()
        self._unregistered = (backbone,)
        self.in_features = tuple(in_features)

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Maps (N, C, H, W), each with its mask (N, H, W), true on images.

        Args:
            pixel_values: (N, 3, H, W).
            pixel_mask: (N, H, W), 1 on images, 0 on padding.
        """
        features = self._unregistered[0](pixel_values)
        maps = [features[name] for name in self.in_features]
        masks = [nn.functional.interpolate(pixel_mask[None].float(), m.shape[-2:])[0].to(torch.bool) for m in maps]
        return list(zip(maps, masks, strict=True))
