"""Backbones that a project registers, with a node of its own in the config: stock heads, so the fast engine."""

import logging

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone, build_model
from torch import nn

from odam_d2.explain import build_explainer
from tests.families import SMALL
from tests.helpers import random_input, relative_error, zoo_config

INPUTS = [random_input(128, 160, 256, 320), random_input(96, 128, seed=1)]


def add_vit_config(cfg):
    """As DiT and LayoutLM add theirs."""
    cfg.MODEL.VIT = CfgNode({"WIDTH": 32, "OUT_FEATURES": ["layer1", "layer2", "layer3", "layer4"]})


class ViT(Backbone):
    """As DiT's: one stride in all blocks, four of which are brought to the strides 4 to 32."""

    def __init__(self, width, names):
        super().__init__()
        self.names, self.width = names, width
        self.patches = nn.Conv2d(3, width, 16, stride=16)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 2, 2 * width, 0.0, "gelu", batch_first=True) for _ in names
        )
        self.scales = nn.ModuleList(
            [
                nn.Sequential(nn.ConvTranspose2d(width, width, 2, 2), nn.ConvTranspose2d(width, width, 2, 2)),
                nn.ConvTranspose2d(width, width, 2, 2),
                nn.Identity(),
                nn.MaxPool2d(2),
            ]
        )

    def forward(self, x):
        x = self.patches(x / 60)
        grid, tokens, maps = x.shape[-2:], x.flatten(2).transpose(1, 2), {}
        for name, block, scale in zip(self.names, self.blocks, self.scales, strict=True):
            tokens = block(tokens)
            maps[name] = scale(tokens.transpose(1, 2).unflatten(2, grid))
        maps["p6"] = maps[self.names[-1]][:, :, ::2, ::2]
        return maps

    def output_shape(self):
        strides = dict(zip((*self.names, "p6"), (4, 8, 16, 32, 64), strict=True))
        return {name: ShapeSpec(channels=self.width, stride=stride) for name, stride in strides.items()}

    @property
    def size_divisibility(self):
        return 32


def build_vit_of_a_test(cfg, input_shape):
    """The registered builder."""
    del input_shape
    return ViT(cfg.MODEL.VIT.WIDTH, cfg.MODEL.VIT.OUT_FEATURES)


@pytest.mark.filterwarnings("error:explaining by plain autograd")
@pytest.mark.parametrize(
    "config", ["COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml", "Misc/cascade_mask_rcnn_R_50_FPN_3x.yaml"]
)
def test_stock_heads_on_it_have_the_fast_engine(config, caplog):
    caplog.set_level(logging.INFO)
    if "build_vit_of_a_test" not in BACKBONE_REGISTRY:
        BACKBONE_REGISTRY.register(build_vit_of_a_test)
    cfg = zoo_config(config, *SMALL, traced=False)
    add_vit_config(cfg)
    names = cfg.MODEL.VIT.OUT_FEATURES
    cfg.MODEL.BACKBONE.NAME = "build_vit_of_a_test"
    cfg.MODEL.RPN.IN_FEATURES, cfg.MODEL.ROI_HEADS.IN_FEATURES = [*names, "p6"], names
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    fast, plain = (
        build_explainer(model, attributes=("score", "left", "mask"), engine=name)(INPUTS)[0]["instances"]
        for name in ("auto", "autograd")
    )
    (told,) = [record.message for record in caplog.records if record.message.startswith("explaining")]
    assert told == "explaining GeneralizedRCNN with the RoI engine, as the stock class that it is"
    for name in ("score", "left", "mask"):
        maps = [one.heatmaps.to_image(name, normalize=False) for one in (fast, plain)]
        assert bool(maps[1].any()) and relative_error(*maps) < 3e-6
