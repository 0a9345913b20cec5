"""The config node, stock names, and every yaml of the project."""

from pathlib import Path

import pytest
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from odam_d2 import model_zoo
from odam_d2.config import add_odam_config, use_traced_architectures
from odam_d2.explain import build_explainer

CONFIGS = Path(__file__).parents[1] / "configs"
# What starts with Base- is a part of others, as in Detectron2's own zoo.
YAMLS = sorted(
    p.relative_to(CONFIGS).with_suffix("").as_posix() for p in CONFIGS.rglob("*.yaml") if not p.name.startswith("Base-")
)


@pytest.mark.parametrize("name", YAMLS)
def test_every_yaml_merges_and_builds_a_detector_that_can_be_explained(name):
    cfg = model_zoo.get_config(name, trained=False)
    cfg.MODEL.DEVICE = "cpu"
    explainer = build_explainer(build_model(cfg), method=cfg.ODAM.METHOD, attributes=cfg.ODAM.ATTRIBUTES)
    assert explainer.attributes == ("score", "left", "top", "right", "bottom")


def test_stock_names_give_way_and_others_stay():
    cfg = get_cfg()
    add_odam_config(cfg)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.ROI_HEADS.NAME = "GeneralizedRCNN", "StandardROIHeads"
    use_traced_architectures(cfg)
    assert (cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.ROI_HEADS.NAME) == ("OdamRCNN", "OdamStandardROIHeads")
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.ROI_HEADS.NAME = "MyRCNN", "MyHeads"
    use_traced_architectures(cfg)
    assert (cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.ROI_HEADS.NAME) == ("MyRCNN", "MyHeads")
