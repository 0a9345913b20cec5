"""Detectors that Detectron2's classes build and its zoo has no config of: other norms, losses, backbones, heads.

They are small, so that all of them run quickly.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from detectron2.config import LazyCall
from detectron2.layers import ShapeSpec
from detectron2.modeling import FPN, MViT, SimpleFeaturePyramid, SwinTransformer, ViT
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.backbone.regnet import RegNet, ResBottleneckBlock, SimpleStem
from omegaconf import DictConfig
from torch import nn
from zoo_cases import Case, zoo_folder

# What makes a yaml's detector small, whatever it is; keys below MODEL.
SMALL: dict[str, Any] = {
    "RESNETS.DEPTH": 18,
    "RESNETS.RES2_OUT_CHANNELS": 64,
    "FPN.OUT_CHANNELS": 64,
    "ROI_BOX_HEAD.FC_DIM": 64,
    "ROI_BOX_HEAD.CONV_DIM": 32,
    "ROI_MASK_HEAD.CONV_DIM": 32,
    "ROI_HEADS.NUM_CLASSES": 7,
    "RETINANET.NUM_CLASSES": 7,
    "RETINANET.NUM_CONVS": 2,
    "SEM_SEG_HEAD.CONVS_DIM": 32,
    "ROI_KEYPOINT_HEAD.CONV_DIMS": [32, 32],
}
_FASTER = "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"
_FAST = "COCO-Detection/fast_rcnn_R_50_FPN_1x.yaml"
_RETINANET = "COCO-Detection/retinanet_R_50_FPN_1x.yaml"
_C4 = "COCO-Detection/faster_rcnn_R_50_C4_1x.yaml"
_MASK = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"
_KEYPOINT = "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml"
_PANOPTIC = "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml"
_CASCADE = "Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml"
_FCOS = "COCO-Detection/fcos_R_50_FPN_1x.py"
_LAZY_MASK = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.py"
_BOTTLENECKS = {"RESNETS.DEPTH": 50, "RESNETS.RES2_OUT_CHANNELS": 64, "RESNETS.WIDTH_PER_GROUP": 16}


def _box_convs(norm: str) -> dict[str, Any]:
    return {"ROI_BOX_HEAD.NUM_CONV": 2, "ROI_BOX_HEAD.NUM_FC": 1, "ROI_BOX_HEAD.NORM": norm}


_ROTATED = {
    "PROPOSAL_GENERATOR.NAME": "RRPN", "ROI_HEADS.NAME": "RROIHeads", "ANCHOR_GENERATOR.NAME": "RotatedAnchorGenerator",
    "ANCHOR_GENERATOR.ANGLES": [[-60, 0, 60]], "RPN.BBOX_REG_WEIGHTS": (1, 1, 1, 1, 1),
    "ROI_BOX_HEAD.BBOX_REG_WEIGHTS": (10, 10, 5, 5, 1), "ROI_BOX_HEAD.POOLER_TYPE": "ROIAlignRotated",
}  # fmt: skip
_POINT_REND = {
    "ROI_MASK_HEAD.NAME": "PointRendMaskHead", "ROI_MASK_HEAD.POOLER_TYPE": "", "ROI_MASK_HEAD.FC_DIM": 32,
    "ROI_MASK_HEAD.OUTPUT_SIDE_RESOLUTION": 7, "ROI_MASK_HEAD.POINT_HEAD_ON": True, "POINT_HEAD.NUM_CLASSES": 7,
    "POINT_HEAD.FC_DIM": 16, "POINT_HEAD.IN_FEATURES": ["p2"],
}  # fmt: skip
_GIOU = {"RPN.BBOX_REG_LOSS_TYPE": "giou", "ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": "giou"}
_LVIS = {"ROI_HEADS.NUM_CLASSES": 1203, "ROI_BOX_HEAD.USE_SIGMOID_CE": True, "ROI_HEADS.SCORE_THRESH_TEST": 1e-4}
_CONVS = {"RPN.CONV_DIMS": [-1, -1]}

# Name -> its config in the zoo, and changes to keys below MODEL.
_YAML: dict[str, tuple[str, Mapping[str, Any]]] = {
    "faster_rcnn_FPN_GN": (_FASTER, {"RESNETS.NORM": "GN", "FPN.NORM": "GN", **_box_convs("GN")}),
    "faster_rcnn_FPN_BN": (_FASTER, {"RESNETS.NORM": "BN", "FPN.NORM": "BN", **_box_convs("BN")}),
    "faster_rcnn_FPN_SyncBN": (_FASTER, {"RESNETS.NORM": "SyncBN", "FPN.NORM": "SyncBN", **_box_convs("SyncBN")}),
    "faster_rcnn_FPN_naiveSyncBN": (_FASTER, {"RESNETS.NORM": "naiveSyncBN", **_box_convs("naiveSyncBN_N")}),
    "faster_rcnn_FPN_FrozenBN": (_FASTER, _box_convs("FrozenBN")),
    "faster_rcnn_FPN_LN": (_FASTER, {"FPN.NORM": "LN", **_box_convs("LN")}),
    "faster_rcnn_FPN_cls_agnostic": (_FASTER, {"ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True}),
    "faster_rcnn_FPN_giou": (_FASTER, _GIOU),
    "faster_rcnn_FPN_rpn_2conv": (_FASTER, _CONVS),
    "faster_rcnn_FPN_two_levels": (_FASTER, {"ROI_HEADS.IN_FEATURES": ["p3", "p4"]}),
    "faster_rcnn_FPN_ROIAlign_V1": (
        _FASTER, {"ROI_BOX_HEAD.POOLER_TYPE": "ROIAlign", "ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 2},
    ),
    "faster_rcnn_FPN_ROIPool": (_FASTER, {"ROI_BOX_HEAD.POOLER_TYPE": "ROIPool"}),
    "faster_rcnn_FPN_LVIS_sigmoid": (_FASTER, _LVIS),
    "faster_rcnn_FPN_LVIS_federated": (_FASTER, {**_LVIS, "ROI_BOX_HEAD.USE_FED_LOSS": True}),
    "faster_rcnn_FPN_RRPN_RROIHeads": (_FASTER, _ROTATED),
    "faster_rcnn_FPN_deformable": (_FASTER, {**_BOTTLENECKS, "RESNETS.DEFORM_ON_PER_STAGE": [False, True, True, True]}),
    "faster_rcnn_C4_bottlenecks": (_C4, _BOTTLENECKS),
    "faster_rcnn_C4_Res5ROIHeads_cls_agnostic": (
        _C4, {"ROI_HEADS.NAME": "Res5ROIHeads", "ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True},
    ),
    "faster_rcnn_C4_StandardROIHeads": (
        _C4,
        {"ROI_HEADS.NAME": "StandardROIHeads", "ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead", "ROI_BOX_HEAD.NUM_FC": 1},
    ),
    "faster_rcnn_DC5": ("COCO-Detection/faster_rcnn_R_50_DC5_1x.yaml", _BOTTLENECKS),
    "fast_rcnn_FPN_masks": (_FAST, {"MASK_ON": True}),
    "fast_rcnn_FPN_cascade": (_FAST, {"ROI_HEADS.NAME": "CascadeROIHeads", "ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True}),
    "mask_rcnn_FPN_GN": (_MASK, {"ROI_MASK_HEAD.NORM": "GN"}),
    "mask_rcnn_FPN_SyncBN": (_MASK, {"ROI_MASK_HEAD.NORM": "SyncBN"}),
    "mask_rcnn_FPN_cls_agnostic_mask": (_MASK, {"ROI_MASK_HEAD.CLS_AGNOSTIC_MASK": True}),
    "mask_rcnn_FPN_keypoints": (_MASK, {"KEYPOINT_ON": True, "ROI_HEADS.NUM_CLASSES": 1}),
    "mask_rcnn_FPN_point_rend": (_MASK, _POINT_REND),
    "mask_rcnn_FPN_implicit_point_rend": (
        _MASK,
        {**_POINT_REND, "ROI_MASK_HEAD.NAME": "ImplicitPointRendMaskHead", "POINT_HEAD.NAME": "ImplicitPointHead"},
    ),
    "keypoint_rcnn_FPN": (_KEYPOINT, {}),
    "keypoint_rcnn_FPN_cascade": (
        _KEYPOINT, {"ROI_HEADS.NAME": "CascadeROIHeads", "ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True},
    ),
    "cascade_mask_rcnn_FPN_GN": (_CASCADE, {"FPN.NORM": "GN", "ROI_MASK_HEAD.NORM": "GN", **_box_convs("GN")}),
    "panoptic_fpn": (_PANOPTIC, {}),
    "panoptic_fpn_cascade": (
        _PANOPTIC, {"ROI_HEADS.NAME": "CascadeROIHeads", "ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True},
    ),
    "panoptic_fpn_not_combined": (_PANOPTIC, {"PANOPTIC_FPN.COMBINE.ENABLED": False}),
    "rpn_C4_2conv": ("COCO-Detection/rpn_R_50_C4_1x.yaml", {**_BOTTLENECKS, **_CONVS}),
    "rpn_FPN_2conv": ("COCO-Detection/rpn_R_50_FPN_1x.yaml", _CONVS),
    **{f"retinanet_FPN_{norm}": (_RETINANET, {"RETINANET.NORM": norm})
       for norm in ("GN", "BN", "SyncBN", "FrozenBN", "naiveSyncBN", "LN")},
    "retinanet_FPN_giou": (_RETINANET, {"RETINANET.BBOX_REG_LOSS_TYPE": "giou"}),
    "retinanet_FPN_one_anchor": (
        _RETINANET,
        {"ANCHOR_GENERATOR.ASPECT_RATIOS": [[1.0]], "ANCHOR_GENERATOR.SIZES": [[32], [64], [128], [256], [512]]},
    ),
    "semantic": ("Misc/semantic_R_50_FPN_1x.yaml", {}),
}  # fmt: skip


def _small_head(model: DictConfig) -> None:
    """Narrow RoI heads of a LazyConfig's Mask R-CNN."""
    model.roi_heads.box_head.fc_dims = [64, 64]
    model.roi_heads.box_predictor.input_shape = ShapeSpec(channels=64)
    model.roi_heads.mask_head.conv_dims = [32, 32]


def _fcos(model: DictConfig, norm: str) -> None:
    _shallow(model)
    model.head.norm = norm
    model.head.conv_dims = [256, 256]


def _shallow(model: DictConfig) -> None:
    model.backbone.bottom_up.stages.depth = 18
    model.backbone.bottom_up.stages.pop("stride_in_1x1")  # of bottlenecks


def _fpn(model: DictConfig, bottom_up: Any, features: list[str]) -> None:
    model.backbone = LazyCall(FPN)(
        bottom_up=bottom_up, in_features=features, out_channels=256, top_block=LazyCall(LastLevelMaxPool)()
    )
    _small_head(model)


def _mvit(model: DictConfig) -> None:
    names = ["scale2", "scale3", "scale4", "scale5"]
    net = LazyCall(MViT)(
        embed_dim=24, depth=4, num_heads=1, last_block_indexes=(0, 1, 2, 3), residual_pooling=True, out_features=names,
        drop_path_rate=0.0,
    )  # fmt: skip
    _fpn(model, net, names)
    model.backbone.square_pad = 128


def _swin(model: DictConfig) -> None:
    net = LazyCall(SwinTransformer)(
        embed_dim=24, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 4], window_size=4, out_indices=[0, 1, 2, 3]
    )
    _fpn(model, net, ["p0", "p1", "p2", "p3"])


def _vit(model: DictConfig) -> None:
    net = LazyCall(ViT)(
        img_size=128, patch_size=16, embed_dim=48, depth=2, num_heads=2, window_size=4, window_block_indexes=[0],
        use_rel_pos=True, out_feature="last_feat", norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )  # fmt: skip
    model.backbone = LazyCall(SimpleFeaturePyramid)(
        net=net, in_feature="last_feat", out_channels=256, scale_factors=(4.0, 2.0, 1.0, 0.5),
        top_block=LazyCall(LastLevelMaxPool)(), norm="LN", square_pad=128,
    )  # fmt: skip
    _small_head(model)
    model.roi_heads.box_head.conv_dims = [32]
    model.roi_heads.box_head.fc_dims = [64]
    model.roi_heads.box_head.conv_norm = model.roi_heads.mask_head.conv_norm = "LN"


def _regnet(model: DictConfig) -> None:
    names = ["s1", "s2", "s3", "s4"]
    net = LazyCall(RegNet)(
        stem_class=SimpleStem, stem_width=16, block_class=ResBottleneckBlock, depth=4, w_a=40.0, w_0=24, w_m=2.0,
        group_width=8, norm="FrozenBN", out_features=names,
    )  # fmt: skip
    _fpn(model, net, names)


_LAZY: dict[str, tuple[str, Callable[[DictConfig], None]]] = {
    **{f"fcos_FPN_{norm or 'no_norm'}": (_FCOS, partial(_fcos, norm=norm))
       for norm in ("GN", "BN", "SyncBN", "LN", "")},
    "mask_rcnn_MViT": (_LAZY_MASK, _mvit),
    "mask_rcnn_Swin": (_LAZY_MASK, _swin),
    "mask_rcnn_ViT": (_LAZY_MASK, _vit),
    "mask_rcnn_RegNet": (_LAZY_MASK, _regnet),
}  # fmt: skip


def shrunk(name: str, base: str, changes: Mapping[str, Any] = {}) -> Case:  # noqa: B006  read alone
    """A case of a yaml of the zoo, small, with some changes below MODEL."""
    options = {**SMALL, **changes}
    opts = tuple(part for key, value in options.items() for part in (f"MODEL.{key}", value))
    return Case(name, zoo_folder() / base, opts)


VARIANTS = [
    *(shrunk(f"variants/{name}", base, changes) for name, (base, changes) in _YAML.items()),
    *(Case(f"variants/{name}", zoo_folder() / base, change=change) for name, (base, change) in _LAZY.items()),
]
