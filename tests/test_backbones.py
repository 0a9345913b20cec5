"""Backbones of Detectron2's zoo under our detectors: stock detections, and maps that are autograd's."""

import detectron2.modeling
import pytest
import torch
from detectron2 import model_zoo
from detectron2.config import LazyCall, instantiate
from detectron2.modeling import Backbone, build_model
from torch import nn

from odam_d2.explain import build_explainer
from odam_d2.meta_arch import OdamRCNN
from odam_d2.modeling import OdamStandardROIHeads
from odam_d2.utils.calibration import calibrate_frozen_norms
from tests.families import SMALL
from tests.helpers import random_input, relative_error, zoo_config
from tests.wants import require, require_package

FASTER = "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml"
INPUT = random_input(128, 160)


def yaml_pair(name, *options):
    """From a yaml of the zoo, ours and stock, not yet with the same weights."""
    return [build_model(zoo_config(name, *SMALL, *options, traced=traced)) for traced in (True, False)]


def lazy_pair(name, narrow):
    """The same from a LazyConfig, in which our classes take the stock ones' places; `narrow` makes it small."""
    models = []
    for classes in ((OdamRCNN, OdamStandardROIHeads), None):
        model = model_zoo.get_config(name)
        model = getattr(model, "model", model)
        narrow(model)
        model.roi_heads.num_classes = 5
        model.roi_heads.box_head.fc_dims = [32]
        model.roi_heads.box_predictor.input_shape.channels = 32
        model.roi_heads.box_predictor.test_score_thresh = 0.0
        model.roi_heads.box_predictor.test_topk_per_image = 2
        model.proposal_generator.post_nms_topk = (20, 20)
        if classes:
            model._target_, model.roi_heads._target_ = classes
        models.append(instantiate(model))
    return models


def regnet(model):
    model.backbone.bottom_up.norm = model.backbone.norm = "BN"
    model.roi_heads.box_head.conv_norm = model.roi_heads.mask_head.conv_norm = "BN"


def vitdet(model):
    net = model.backbone.net
    net.img_size, net.embed_dim, net.depth, net.num_heads, net.window_block_indexes = 160, 48, 2, 4, [0]
    model.backbone.square_pad = 160


class Patches(Backbone):
    """A plain net in the ViT's place, which needs a package that Detectron2 doesn't ask for: one map of stride 16."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 48, 16, 16)
        self.mix = nn.Conv2d(48, 48, 3, padding=1)
        self._out_features = ["last_feat"]
        self._out_feature_strides, self._out_feature_channels = {"last_feat": 16}, {"last_feat": 48}

    def forward(self, x):
        return {"last_feat": self.mix(self.embed(x).relu())}


def simple_pyramid(model):
    model.backbone.in_feature = "last_feat"
    model.backbone.net = LazyCall(Patches)()
    model.backbone.square_pad = 160


LAZY = {
    "RegNetX": ("RegNet", "new_baselines/mask_rcnn_regnetx_4gf_dds_FPN_100ep_LSJ.py", regnet),
    "RegNetY": ("RegNet", "new_baselines/mask_rcnn_regnety_4gf_dds_FPN_100ep_LSJ.py", regnet),
    "ViTDet": ("ViT", "common/models/mask_rcnn_vitdet.py", vitdet),
    "SimpleFeaturePyramid": ("SimpleFeaturePyramid", "common/models/mask_rcnn_vitdet.py", simple_pyramid),
}
YAML = {
    "ResNet-18": (FASTER, "MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64),
    "ResNet-50": (FASTER,),
    "ResNet-101": ("COCO-Detection/faster_rcnn_R_101_FPN_3x.yaml",),
    "ResNeXt-101": ("COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml",),
    "RetinaNet on ResNet-50": ("COCO-Detection/retinanet_R_50_FPN_3x.yaml",),
}


@torch.no_grad()
def settle(model):
    """Gives every batch norm the statistics of an image, so that random weights neither explode nor fade."""
    calibrate_frozen_norms(model, [INPUT])
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    model([INPUT])
    for norm in norms:
        norm.eval()


@pytest.fixture(scope="module", params=[*YAML, *LAZY])
def pair(request):
    """Ours and stock with the same random weights."""
    torch.manual_seed(0)
    if request.param in YAML:
        ours, stock = yaml_pair(*YAML[request.param])
    else:
        needed, name, narrow = LAZY[request.param]
        there = hasattr(detectron2.modeling, needed) or hasattr(detectron2.modeling.backbone, needed)
        require(f"{needed} in this Detectron2", there)
        if needed == "ViT":
            require_package("timm")  # Detectron2's ViT takes its layers from there
        ours, stock = lazy_pair(name, narrow)
    settle(ours.eval())
    stock.eval().load_state_dict(ours.state_dict())
    return ours, stock


def test_detections_are_the_stock_models_bit_for_bit(pair):
    ours, stock = pair
    with torch.no_grad():
        (wanted,) = stock([INPUT])
    (traced,) = ours.trace([INPUT]).instances
    assert type(stock).__name__ in ("GeneralizedRCNN", "RetinaNet") and type(ours).__name__ == f"Odam{_short(stock)}"
    assert len(traced) == 2
    assert torch.equal(traced.pred_boxes.tensor, wanted["instances"].pred_boxes.tensor)
    assert torch.equal(traced.scores, wanted["instances"].scores)


def _short(stock):
    return type(stock).__name__.replace("Generalized", "")


@pytest.mark.filterwarnings("error:explaining by plain autograd")
def test_maps_are_autograds(pair):
    ours, _ = pair
    fast, plain = (
        build_explainer(ours, attributes=("score", "left"), engine=engine)([INPUT])[0]["instances"].heatmaps
        for engine in ("auto", "autograd")
    )
    for name in ("score", "left"):
        expected = plain.to_image(name, normalize=False)
        assert bool(torch.isfinite(expected).all()) and bool(expected.any())
        assert relative_error(fast.to_image(name, normalize=False), expected) < 1e-4
