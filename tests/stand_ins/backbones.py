"""Small backbones of Detectron2's kind."""

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from torch import nn


class Pyramid(Backbone):
    """Maps of stride 4, 8, 16 and so on, all of them of the same width."""

    def __init__(self, names=("p2", "p3", "p4"), channels=16):
        super().__init__()
        self.names = tuple(names)
        self.channels = channels
        self.stem = nn.Conv2d(3, channels, 5, stride=4, padding=2)
        self.steps = nn.ModuleList(nn.Conv2d(channels, channels, 3, 2, 1) for _ in self.names[1:])

    def forward(self, x):
        maps = [self.stem(x).tanh()]
        for step in self.steps:
            maps.append(step(maps[-1]).tanh())
        return dict(zip(self.names, maps, strict=True))

    def output_shape(self):
        return {name: ShapeSpec(channels=self.channels, stride=4 * 2**k) for k, name in enumerate(self.names)}

    @property
    def size_divisibility(self):
        return 4 * 2 ** (len(self.names) - 1)


def normalised(image):
    """An image of 0 to 255 as a network likes it."""
    return (image - torch.tensor(127.0)) / 60
