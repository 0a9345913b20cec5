"""The detector families of the contract test, small enough to be asked for every attribute by plain autograd."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from detectron2.modeling import build_model
from detectron2.modeling.meta_arch.fcos import FCOS
from torch import nn

from odam_d2.utils.calibration import calibrate_frozen_norms
from tests.helpers import query_config, random_input, zoo_config

R18 = ("MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64)
# Narrow heads, few classes and proposals, and two detections of an image whatever their score.
SMALL = (
    "MODEL.FPN.OUT_CHANNELS", 32, "MODEL.ROI_BOX_HEAD.FC_DIM", 32, "MODEL.ROI_MASK_HEAD.CONV_DIM", 16,
    "MODEL.ROI_MASK_HEAD.NUM_CONV", 2, "MODEL.ROI_HEADS.NUM_CLASSES", 5, "MODEL.RPN.POST_NMS_TOPK_TEST", 20,
    "MODEL.RETINANET.NUM_CLASSES", 5, "MODEL.RETINANET.NUM_CONVS", 2,
    "ODAM.FCOS.NUM_CLASSES", 5, "ODAM.FCOS.NUM_CONVS", 2, "ODAM.FCOS.NORM", "",
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, "MODEL.RETINANET.SCORE_THRESH_TEST", 0.0,
    "ODAM.FCOS.SCORE_THRESH_TEST", 0.0, "TEST.DETECTIONS_PER_IMAGE", 2,
)  # fmt: skip


def build_stock(family: "Family") -> nn.Module:
    """Detectron2's own detector for a family, by its own names."""
    return build_model(zoo_config(family.config, *SMALL, *family.options, traced=False))


def build_stock_fcos(family: "Family") -> nn.Module:
    """Detectron2's FCOS, which no yaml builds, from what ours is built from."""
    ours = build_model(zoo_config(family.config, *SMALL, *family.options))
    return FCOS(**type(ours).from_config(zoo_config(family.config, *SMALL, *family.options)))


@dataclass(frozen=True)
class Family:
    """One line of the contract.

    Attributes:
        name: what the tests call it.
        config: of Detectron2's zoo.
        options: changes to it.
        lacks: an attribute that other families have.
        stock: builds Detectron2's own.
        key: what its results are called.
        group_norm: how the fast engine takes group norm.
    """

    name: str
    config: str
    options: tuple = R18
    lacks: str = "centerness"
    stock: Callable[["Family"], nn.Module] = build_stock
    key: str = "instances"
    group_norm: str = "frozen"

    def detector(self) -> nn.Module:
        """Our detector with random weights."""
        return self.pair()[0]

    def pair(self) -> tuple[nn.Module, nn.Module]:
        """Our detector and the stock one with the same random weights, whose features have about unit variance."""
        torch.manual_seed(0)
        ours = build_model(zoo_config(self.config, *SMALL, *self.options)).eval()
        calibrate_frozen_norms(ours, [random_input(128, 160)])
        stock = self.stock(self).eval()
        stock.load_state_dict(ours.state_dict())
        return ours, stock


_MASKED_CASCADE = "Misc/cascade_mask_rcnn_R_50_FPN_3x.yaml"
# Stuff of a few cells counts as a segment, and so do detections whatever their score.
_SMALL_SEGMENTS = (
    "MODEL.SEM_SEG_HEAD.CONVS_DIM", 16, "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 6, "MODEL.SEM_SEG_HEAD.NORM", "",
    "MODEL.PANOPTIC_FPN.COMBINE.STUFF_AREA_LIMIT", 16, "MODEL.PANOPTIC_FPN.COMBINE.INSTANCES_CONFIDENCE_THRESH", 0.0,
)  # fmt: skip
_RETINANET = "COCO-Detection/retinanet_R_50_FPN_3x.yaml"
FAMILIES = [
    Family("faster_rcnn_fpn", "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml", lacks="mask"),
    # Detectron2 dilates the last stage of nets with bottlenecks only.
    Family("faster_rcnn_dc5", "COCO-Detection/faster_rcnn_R_50_DC5_3x.yaml", ("MODEL.RESNETS.RES2_OUT_CHANNELS", 64)),
    Family("faster_rcnn_c4", "COCO-Detection/faster_rcnn_R_50_C4_3x.yaml"),
    Family("mask_rcnn_c4", "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x.yaml"),
    Family("mask_rcnn_fpn", "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"),
    Family(
        "keypoint_rcnn", "COCO-Keypoints/keypoint_rcnn_R_50_FPN_3x.yaml",
        (*R18, "MODEL.ROI_HEADS.NUM_CLASSES", 5, "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS", (16, 16),
         "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", 3), lacks="mask",
    ),
    Family("panoptic_fpn", "COCO-PanopticSegmentation/panoptic_fpn_R_50_3x.yaml", (*R18, *_SMALL_SEGMENTS)),
    Family("cascade", _MASKED_CASCADE, (*R18, "MODEL.MASK_ON", False), lacks="mask"),
    Family("cascade_mask", _MASKED_CASCADE),
    Family("retinanet", _RETINANET, lacks="mask"),
    Family("fcos", _RETINANET, (*R18, "MODEL.META_ARCHITECTURE", "OdamFCOS"), lacks="mask", stock=build_stock_fcos),
    Family(
        "fcos_group_norm", _RETINANET, (*R18, "MODEL.META_ARCHITECTURE", "OdamFCOS", "ODAM.FCOS.NORM", "GN"),
        lacks="mask", stock=build_stock_fcos, group_norm="exact",
    ),
    Family(
        "rpn", "COCO-Detection/rpn_R_50_FPN_1x.yaml", (*R18, "MODEL.RPN.POST_NMS_TOPK_TEST", 2), lacks="mask",
        key="proposals",
    ),
]  # fmt: skip


@dataclass(frozen=True)
class QueryFamily:
    """A detector of transformers; that it says what transformers' own says is tests/meta_arch/test_detr.py's business.

    Attributes:
        name: the class in transformers.
        lacks: see :class:`Family`.
    """

    name: str
    lacks: str = "mask"
    group_norm: str = "frozen"

    def detector(self) -> nn.Module:
        """Our detector with random weights, two detections of an image whatever their score."""
        torch.manual_seed(0)
        cfg = query_config(self.name, "NUM_CLASSES", 5)
        cfg.TEST.DETECTIONS_PER_IMAGE = 2
        model = build_model(cfg).eval()
        for module in model.modules():
            # What would move boxes and samples begins at zero.
            if isinstance(module, nn.Linear) and not bool(module.weight.any()):
                nn.init.normal_(module.weight, std=0.1)
        return model


QUERY_FAMILIES = [
    QueryFamily(f"{name}ForObjectDetection") for name in ("Detr", "ConditionalDetr", "RTDetr", "RTDetrV2")
]
