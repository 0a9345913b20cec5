"""The compact ResNet-FPN."""

import torch
from detectron2.modeling import build_backbone

from odam_d2 import model_zoo


def test_levels_channels_and_size():
    cfg = model_zoo.get_config("synthetic/faster_rcnn_compact_FPN", trained=False)
    backbone = build_backbone(cfg).eval()
    assert {k: (v.channels, v.stride) for k, v in backbone.output_shape().items()} == {
        "p2": (64, 4), "p3": (64, 8), "p4": (64, 16), "p5": (64, 32), "p6": (64, 64),
    }  # fmt: skip
    with torch.no_grad():
        features = backbone(torch.zeros(1, 3, 64, 96))
    assert {k: tuple(v.shape) for k, v in features.items()} == {
        "p2": (1, 64, 16, 24), "p3": (1, 64, 8, 12), "p4": (1, 64, 4, 6), "p5": (1, 64, 2, 3), "p6": (1, 64, 1, 2),
    }  # fmt: skip
