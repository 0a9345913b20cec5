"""Backbones that Detectron2's yaml configs lack: a narrow ResNet that two CPU cores can train, and FCOS's."""

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import FPN, BasicStem, ResNet, build_resnet_backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7
from detectron2.modeling.backbone.resnet import BasicBlock
from torch import nn


def build_compact_resnet(cfg, input_shape: ShapeSpec) -> ResNet:
    """Builds the narrow ResNet that ``cfg.ODAM.COMPACT_RESNET`` describes.

    Detectron2's own builder insists on 64 channels in res2 for shallow nets; its parts do not.

    Args:
        cfg: a config with the ODAM node; reads ``ODAM.COMPACT_RESNET``, ``MODEL.RESNETS.NORM``,
            ``MODEL.RESNETS.OUT_FEATURES`` and ``MODEL.BACKBONE.FREEZE_AT``.
        input_shape: shape of the image; only ``channels`` is read.

    Returns:
        The backbone, with outputs among ``stem`` (stride 4) and ``res2`` .. ``res5`` (strides 4, 8, 16, 32).
    """
    compact, norm = cfg.ODAM.COMPACT_RESNET, cfg.MODEL.RESNETS.NORM
    stem = BasicStem(in_channels=input_shape.channels, out_channels=compact.STEM_CHANNELS, norm=norm)
    stages, in_channels = [], compact.STEM_CHANNELS
    for index, (num_blocks, out_channels) in enumerate(zip(compact.BLOCKS, compact.CHANNELS, strict=True)):
        first_stride = 1 if index == 0 else 2
        stages.append(
            ResNet.make_stage(
                BasicBlock,
                num_blocks,
                in_channels=in_channels,
                out_channels=out_channels,
                stride_per_block=[first_stride] + [1] * (num_blocks - 1),
                norm=norm,
            )
        )
        in_channels = out_channels
    return ResNet(stem, stages, out_features=cfg.MODEL.RESNETS.OUT_FEATURES, freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT)


@BACKBONE_REGISTRY.register()
def build_compact_resnet_fpn_backbone(cfg, input_shape: ShapeSpec) -> FPN:
    """The narrow ResNet under an FPN with one pooled level on top, as Detectron2's Faster R-CNN FPN has it."""
    return _build_fpn(cfg, build_compact_resnet(cfg, input_shape), LastLevelMaxPool())


@BACKBONE_REGISTRY.register()
def build_compact_retinanet_resnet_fpn_backbone(cfg, input_shape: ShapeSpec) -> FPN:
    """The narrow ResNet under an FPN with two convolved levels on top, as Detectron2's RetinaNet has it."""
    bottom_up = build_compact_resnet(cfg, input_shape)
    top = LastLevelP6P7(bottom_up.output_shape()["res5"].channels, cfg.MODEL.FPN.OUT_CHANNELS)
    return _build_fpn(cfg, bottom_up, top)


@BACKBONE_REGISTRY.register()
def build_fcos_resnet_fpn_backbone(cfg, input_shape: ShapeSpec) -> FPN:
    """Detectron2's ResNet under an FPN whose two top levels come from p5, as its FCOS in Python has it."""
    channels = cfg.MODEL.FPN.OUT_CHANNELS
    return _build_fpn(cfg, build_resnet_backbone(cfg, input_shape), LastLevelP6P7(channels, channels, "p5"))


def _build_fpn(cfg, bottom_up: ResNet, top_block: nn.Module) -> FPN:
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=top_block,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
