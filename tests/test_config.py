"""The config node, stock names, and every yaml of the project."""

from pathlib import Path

import pytest
import torch
from detectron2 import model_zoo as stock_zoo
from detectron2.config import LazyConfig, get_cfg, instantiate
from detectron2.modeling import RetinaNet, build_model
from omegaconf import DictConfig

from odam_d2 import model_zoo
from odam_d2.config import add_odam_config, use_traced_architectures
from odam_d2.explain import build_explainer, known_attributes
from odam_d2.meta_arch import OdamFCOS, OdamRetinaNet
from tests.wants import require_package

CONFIGS = Path(__file__).parents[1] / "configs"
# What starts with Base- is a part of others, as in Detectron2's own zoo.
YAMLS = sorted(
    p.relative_to(CONFIGS).with_suffix("").as_posix() for p in CONFIGS.rglob("*.yaml") if not p.name.startswith("Base-")
)


@pytest.mark.parametrize("name", YAMLS)
def test_every_yaml_merges_and_builds_a_detector_that_can_be_explained(name):
    cfg = model_zoo.get_config(name, trained=False)
    if cfg.MODEL.META_ARCHITECTURE == "OdamDETR":
        require_package("transformers")
    cfg.MODEL.DEVICE = "meta"  # names and shapes without the memory
    explainer = build_explainer(build_model(cfg), method=cfg.ODAM.METHOD, attributes=cfg.ODAM.ATTRIBUTES)
    assert explainer.attributes[:5] == ("score", "left", "top", "right", "bottom")


def shapes_of(cfg, device="meta"):
    cfg.MODEL.DEVICE = device
    return {name: tensor.shape for name, tensor in build_model(cfg).state_dict().items()}


@pytest.mark.parametrize(
    "ours, stock",
    [
        *((name, name) for name in (
            "COCO-Detection/faster_rcnn_R_50_FPN_3x", "COCO-Detection/faster_rcnn_R_50_C4_3x",
            "COCO-Detection/faster_rcnn_R_50_DC5_3x", "COCO-Detection/retinanet_R_50_FPN_3x",
            "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x", "COCO-Keypoints/keypoint_rcnn_R_50_FPN_3x",
            "COCO-PanopticSegmentation/panoptic_fpn_R_50_3x",
        )),
        ("COCO-InstanceSegmentation/cascade_mask_rcnn_R_50_FPN_3x", "Misc/cascade_mask_rcnn_R_50_FPN_3x"),
    ],
)  # fmt: skip
def test_coco_yamls_are_detectron2s_own_but_for_our_classes(ours, stock):
    theirs = get_cfg()
    theirs.merge_from_file(stock_zoo.get_config_file(f"{stock}.yaml"))
    mine = model_zoo.get_config(ours, trained=False)
    assert shapes_of(mine) == shapes_of(theirs.clone())
    mine.pop("ODAM")
    mine.MODEL.META_ARCHITECTURE, mine.MODEL.ROI_HEADS.NAME = (
        theirs.MODEL.META_ARCHITECTURE,
        theirs.MODEL.ROI_HEADS.NAME,
    )
    mine.MODEL.DEVICE, mine.MODEL.WEIGHTS = theirs.MODEL.DEVICE, theirs.MODEL.WEIGHTS
    assert mine == theirs, ours


def test_the_fcos_yaml_is_what_detectron2_configures_in_python():
    theirs = instantiate(stock_zoo.get_config("COCO-Detection/fcos_R_50_FPN_1x.py").model)
    expected = {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    cfg = model_zoo.get_config("COCO-Detection/fcos_R_50_FPN_1x", trained=False)
    assert shapes_of(cfg) == expected
    cfg.MODEL.DEVICE = "cpu"
    mine = build_model(cfg)
    settings = (
        "num_classes", "head_in_features", "test_score_thresh", "test_nms_thresh", "center_sampling_radius",
        "test_topk_candidates", "max_detections_per_image", "focal_loss_alpha", "focal_loss_gamma",
    )  # fmt: skip
    for name in settings:
        assert getattr(mine, name) == getattr(theirs, name), name
    assert mine.backbone.top_block.in_feature == theirs.backbone.top_block.in_feature == "p5"
    assert torch.equal(mine.pixel_mean, theirs.pixel_mean) and torch.equal(mine.pixel_std, theirs.pixel_std)


def test_stock_names_give_way_and_others_stay():
    cfg = get_cfg()
    add_odam_config(cfg)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.ROI_HEADS.NAME = "GeneralizedRCNN", "StandardROIHeads"
    use_traced_architectures(cfg)
    assert (cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.ROI_HEADS.NAME) == ("OdamRCNN", "OdamStandardROIHeads")
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.ROI_HEADS.NAME = "MyRCNN", "MyHeads"
    use_traced_architectures(cfg)
    assert (cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.ROI_HEADS.NAME) == ("MyRCNN", "MyHeads")


LAZY = sorted(p.relative_to(CONFIGS).as_posix() for p in CONFIGS.rglob("*.py"))


@pytest.mark.parametrize("name", LAZY)
def test_every_lazy_config_builds_a_detector_that_can_be_explained(name):
    cfg = LazyConfig.load(str(CONFIGS / name))
    assert {"model", "dataloader", "train", "optimizer", "lr_multiplier"} == set(cfg)
    with torch.device("meta"):
        model = instantiate(cfg.model)
    assert type(model) in (OdamFCOS, OdamRetinaNet)
    assert build_explainer(model).attributes == ("score", "left", "top", "right", "bottom")


@pytest.mark.parametrize(
    "name, classes",
    [
        ("COCO-Detection/fcos_R_50_FPN_1x.py", ["OdamFCOS"]),
        ("COCO-Detection/retinanet_R_50_FPN_1x.py", ["OdamRetinaNet"]),
        ("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.py", ["OdamRCNN", "OdamRPN", "OdamStandardROIHeads"]),
        ("COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.py", ["OdamRCNN", "OdamRPN", "OdamRes5ROIHeads"]),
        ("common/models/cascade_rcnn.py", ["OdamCascadeROIHeads", "OdamRCNN", "OdamRPN"]),
    ],
)
def test_stock_classes_of_a_lazy_config_give_way(name, classes):
    cfg = LazyConfig.load(stock_zoo.get_config_file(name))
    use_traced_architectures(cfg)
    with torch.device("meta"):
        model = instantiate(cfg.model)
    ours = {type(module).__name__ for module in model.modules() if type(module).__module__.startswith("odam_d2.")}
    assert sorted(ours) == classes
    assert build_explainer(model).model is model


def test_classes_of_ones_own_and_names_in_a_lazy_config():
    class Mine(RetinaNet):
        """Not Detectron2's, so left alone."""

    class Named(RetinaNet):
        """Not Detectron2's either, whatever it is called."""

    Named.__name__ = "RetinaNet"

    cfg = DictConfig(
        {
            "a": {"_target_": Mine, "size": "${..nowhere}", "missing": "???"},
            "c": {"_target_": Named},
            "b": [{"_target_": "detectron2.modeling.meta_arch.retinanet.RetinaNet"}, 3],
        },
        flags={"allow_objects": True},
    )
    use_traced_architectures(cfg)
    assert cfg.a._target_ is Mine and cfg.c._target_ is Named and cfg.b[0]._target_ is OdamRetinaNet and cfg.b[1] == 3


def test_a_stock_proposal_network_gives_way():
    cfg = get_cfg()
    add_odam_config(cfg)
    cfg.merge_from_file(stock_zoo.get_config_file("COCO-Detection/rpn_R_50_FPN_1x.yaml"))
    use_traced_architectures(cfg)
    assert (cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.PROPOSAL_GENERATOR.NAME) == ("OdamProposalNetwork", "OdamRPN")
    cfg.MODEL.DEVICE = "meta"
    assert "objectness" in known_attributes(build_model(cfg))
