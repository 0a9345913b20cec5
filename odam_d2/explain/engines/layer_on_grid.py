"""A layer of a dense head on a whole grid, as gradients go back through it.

Shape letters: R gradients, C channels, G groups, (H, W) the grid.
"""

from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...modeling.dense_layers import Layer


class LayerOnGrid:
    """Norm and ReLU of a layer on one level of one image, as gradients go back through them; all is a constant."""

    def __init__(self, layer: Layer, level: int, image: int):
        self.layer = layer
        self.mask = layer.masks[level][image]
        self.level = level
        self.image = image
        self.groups = layer.norm.num_groups if isinstance(layer.norm, nn.GroupNorm) else 0

    @cached_property
    def normalised(self) -> Tensor:
        """(G, C / G * H * W): activations behind group norm, before its weight."""
        statistics = (self.layer.means, self.layer.deviations)
        mean, deviation = (of[self.level][self.image][:, None, None] for of in statistics)
        return ((self.layer.inputs[self.level][self.image] - mean) / deviation).view(self.groups, -1)

    def squares(self) -> Tensor:
        """(2 G,): squared L2 norms of what :meth:`spread` combines."""
        size = self.mask.numel() // self.groups
        deviations = self.layer.deviations[self.level][self.image].view(self.groups, -1)[:, 0]
        ones = torch.full_like(deviations, size)
        assert self.layer.norm is not None  # there are groups
        return torch.cat([ones, size * (1.0 - self.layer.norm.eps / deviations.square()).clamp(min=0.0)])

    def spread(self, shares: Tensor) -> Tensor:
        """(R, C, H, W) from (R, 2 G): shares of 1 on each group, then of the normalised activations of each group."""
        ones, along = shares.unflatten(1, (2, -1))[..., None].unbind(1)
        return torch.addcmul(ones, along, self.normalised).view(len(shares), *self.mask.shape)

    def combined(self, fields: Tensor, shares: Tensor) -> Tensor:
        """(Q, C, H, W): combinations of (R, C, H, W) fields and of what :meth:`spread` combines.

        Args:
            fields: (R, C, H, W).
            shares: (Q, R + 2 G).
        """
        of_fields, own = shares.split([len(fields), 2 * self.groups], 1)
        return torch.einsum("qr,rchw->qchw", of_fields, fields) + self.spread(own)

    def back(self, fields: Tensor) -> Tensor:
        """(R, C, H, W): the gradient in front from the gradient behind."""
        scale = self.layer.scale(self.level)
        if scale is not None:
            fields = fields * scale.expand(len(self.layer.masks[self.level]), -1)[self.image, :, None, None]
        fields = fields * self.mask
        if not self.groups:
            return fields
        groups = fields.view(len(fields), *self.normalised.shape)
        means = groups.mean(2, keepdim=True), (groups * self.normalised).mean(2, keepdim=True)
        return (groups - means[0] - means[1] * self.normalised).view(fields.shape)

    def times_features(self, fields: Tensor, features: Tensor) -> Tensor:
        """Gradients on the output of the layer's convolution, taken to its input and there summed with its features.

        A convolution multiplies the features of a cell by one matrix for each tap of its kernel. Multiplied by the
        gradient at the cell that the tap leads to, and summed over channels, this is the tap's share of gradient times
        features. So all gradients together cost one convolution.

        Args:
            fields: (R, C, H, W).
            features: (C_in, H, W).

        Returns:
            (R + 2 G, H * W): of the fields, then of what :meth:`spread` combines.
        """
        weight = self.layer.conv.weight.detach().to(fields)
        features, reach = features.to(weight), weight.shape[-1] // 2
        height, width = features.shape[-2:]
        border = (reach, reach, reach, reach)
        padded = [F.pad(field, border) for field in fields]
        normalised = F.pad(self.normalised.view_as(self.mask), border) if self.groups else weight.new_zeros(0)
        inside = F.pad(torch.ones_like(features[0]), border)
        maps = weight.new_zeros(())
        for row in range(2 * reach + 1):
            for column in range(2 * reach + 1):
                cells = (
                    slice(2 * reach - row, 2 * reach - row + height),
                    slice(2 * reach - column, 2 * reach - column + width),
                )
                seen = torch.einsum("oc,chw->ohw", weight[:, :, row, column], features)
                parts = [(field[(slice(None), *cells)] * seen).sum(0, keepdim=True) for field in padded]
                if self.groups:
                    parts.append(self._by_group(seen) * inside[cells])
                    parts.append(self._by_group(seen * normalised[(slice(None), *cells)]))
                maps = maps + torch.cat(parts)
        return maps.flatten(1)

    def _by_group(self, values: Tensor) -> Tensor:
        """(G, H, W): sums of (C, H, W) values over the channels of each group."""
        return values.unflatten(0, (self.groups, -1)).sum(1)


def transposed(fields: Tensor, conv: nn.Conv2d) -> Tensor:
    """(R, C_in, H, W) from (R, C_out, H, W): back through a convolution that keeps the grid."""
    return F.conv_transpose2d(fields, conv.weight.detach().to(fields), padding=[side // 2 for side in conv.kernel_size])
