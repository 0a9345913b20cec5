"""OdamPanopticFPN: what it gives beside its instances, with and without Odam-NMS."""

import pytest
import torch
from detectron2.config import LazyConfig
from detectron2.model_zoo import get_config_file
from detectron2.modeling import PanopticFPN, build_model

from odam_d2.config import use_traced_architectures
from odam_d2.explain import build_explainer
from odam_d2.meta_arch import OdamPanopticFPN, OdamRCNN
from tests.families import FAMILIES, SMALL
from tests.helpers import given, random_input, zoo_config

INPUTS = [random_input(128, 160, 256, 320), random_input(96, 128, seed=1)]
FAMILY = next(family for family in FAMILIES if family.name == "panoptic_fpn")
NMS = ("ODAM.NMS.ENABLED", True, "ODAM.NMS.IOU_THRESH", 0.4, "ODAM.NMS.LOW", 0.3, "ODAM.NMS.HIGH", 0.35)


@pytest.fixture(scope="module")
def pair():
    """Ours and the stock detector with the same random weights."""
    return FAMILY.pair()


def assert_same(found, expected):
    """Everything beside the instances, bit for bit."""
    assert torch.equal(found["sem_seg"], expected["sem_seg"])
    assert torch.equal(found["panoptic_seg"][0], expected["panoptic_seg"][0])
    assert found["panoptic_seg"][1] == expected["panoptic_seg"][1]


def test_all_results_are_the_stock_models_bit_for_bit(pair):
    ours, stock = pair
    with torch.no_grad():
        expected, plain = stock(INPUTS), ours(INPUTS)
        raw, stock_raw = (model.inference(INPUTS, do_postprocess=False) for model in pair)
    explained = build_explainer(ours, attributes=("score",))(INPUTS)
    assert type(ours) is OdamPanopticFPN and list(ours.state_dict()) == list(stock.state_dict())
    for one, found, wanted in zip(plain, explained, expected, strict=True):
        assert set(one) == set(found) == set(wanted) == {"instances", "sem_seg", "panoptic_seg"}
        assert_same(one, wanted)
        assert_same(found, wanted)
        # Instances and stuff are both among the segments, or there would be nothing to see.
        assert {segment["isthing"] for segment in wanted["panoptic_seg"][1]} == {True, False}
    assert all(torch.equal(one.pred_masks, other.pred_masks) for one, other in zip(raw[0], stock_raw[0], strict=True))
    assert all(torch.equal(one, other) for one, other in zip(raw[1], stock_raw[1], strict=True))


def test_boxes_that_are_given_are_no_segments(pair):
    ours, stock = pair
    boxes = [given((256, 320), [[20, 30, 180, 200]], [1]), given((96, 128), [], [])]
    found = build_explainer(ours, attributes=("score", "mask"))(INPUTS, boxes)
    with torch.no_grad():
        expected = stock(INPUTS)
    for one, wanted in zip(found, expected, strict=True):
        assert set(one) == {"instances", "sem_seg"}
        assert torch.equal(one["sem_seg"], wanted["sem_seg"])
    assert [len(one["instances"].heatmaps) for one in found] == [1, 0]


def test_odam_nms_chooses_the_instances_and_their_segments(pair):
    many = ("TEST.DETECTIONS_PER_IMAGE", 30)
    torch.manual_seed(0)
    model = build_model(zoo_config(FAMILY.config, *SMALL, *FAMILY.options, *many, *NMS)).eval()
    model.load_state_dict(pair[0].state_dict())
    torch.manual_seed(0)
    options = (*FAMILY.options, *many, *NMS, "MODEL.META_ARCHITECTURE", "OdamRCNN")
    plain = build_model(zoo_config(FAMILY.config, *SMALL, *options)).eval()
    plain.load_state_dict(pair[0].state_dict(), strict=False)
    assert type(plain) is OdamRCNN
    with torch.no_grad():
        found, expected, stock = model(INPUTS), plain(INPUTS), pair[1](INPUTS)
        raw, semantic = model.inference(INPUTS, do_postprocess=False)
    explained = build_explainer(model, attributes=("score",))(INPUTS)
    for one, other, wanted, theirs in zip(found, explained, expected, stock, strict=True):
        instances = one["instances"]
        assert torch.equal(instances.pred_boxes.tensor, wanted["instances"].pred_boxes.tensor)
        assert torch.equal(instances.scores, other["instances"].scores)
        assert torch.equal(one["sem_seg"], theirs["sem_seg"])
        assert_same(one, other)
        # Each instance that is a segment has the score that it was found with.
        things = [segment for segment in one["panoptic_seg"][1] if segment["isthing"]]
        assert things and all(s["score"] == float(instances.scores[s["instance_id"]]) for s in things)
    assert set(raw[0].get_fields()) == {"pred_boxes", "scores", "pred_classes", "pred_masks"} and len(semantic) == 2


def test_drise_asks_for_boxes_alone(pair):
    explainer = build_explainer(pair[0], "drise", num_masks=4, progress=False, amp=True)
    found = explainer(INPUTS[:1])[0]
    assert set(found) == {"instances", "sem_seg", "panoptic_seg"} and len(found["instances"].heatmaps) == 2


def test_the_lazy_config_gives_way():
    cfg = LazyConfig.load(get_config_file("COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.py"))
    assert cfg.model._target_ is PanopticFPN
    use_traced_architectures(cfg)
    assert cfg.model._target_ is OdamPanopticFPN
