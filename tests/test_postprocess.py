"""Odam-NMS inside the detectors: what it keeps, who may call it, and that without it nothing changes."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import LazyCall, LazyConfig, instantiate
from detectron2.engine import DefaultPredictor
from detectron2.evaluation import DatasetEvaluator, inference_on_dataset
from detectron2.modeling import build_model
from detectron2.modeling.meta_arch.fcos import FCOSHead
from detectron2.modeling.roi_heads import FastRCNNOutputLayers

from odam_d2 import model_zoo
from odam_d2.explain import build_explainer
from odam_d2.meta_arch import OdamFCOS
from odam_d2.modeling import OdamStandardROIHeads
from odam_d2.postprocess import ONE_STAGE, TWO_STAGE, OdamNMS
from odam_d2.structures import HeatMaps
from odam_d2.utils.calibration import calibrate_frozen_norms
from tests.families import FAMILIES, SMALL
from tests.helpers import compact_detector, random_input, zoo_config
from tests.ops.test_nms import plain_odam_nms

# Of different sizes, so that the second is padded; the first was twice as large.
INPUTS = [random_input(128, 160, 256, 320), random_input(96, 128, seed=1)]
# About fifty candidates an image, and more room than they need.
CROWDED = (
    "TEST.DETECTIONS_PER_IMAGE", 45, "MODEL.RPN.POST_NMS_TOPK_TEST", 10, "MODEL.RETINANET.TOPK_CANDIDATES_TEST", 12,
    "ODAM.FCOS.TOPK_CANDIDATES_TEST", 12,
)  # fmt: skip
NAMES = ("faster_rcnn_fpn", "cascade", "retinanet", "fcos")
THRESHOLDS = (0.4, 0.3, 0.35)


def nms_options(iou_threshold, low, high, *more):
    keys = zip(("IOU_THRESH", "LOW", "HIGH"), (iou_threshold, low, high), strict=True)
    return ("ODAM.NMS.ENABLED", True, *(x for key, value in keys for x in (f"ODAM.NMS.{key}", value)), *more)


class Case:
    """A family: its stock detector, and ours with the same weights and any suppression."""

    def __init__(self, family, *options):
        self.family = type(family)(**{**vars(family), "options": (*family.options, *CROWDED, *options)})
        model = self.build()
        calibrate_frozen_norms(model, [random_input(128, 160)])
        if family.name.startswith("fcos"):  # whose fresh boxes have no size
            torch.nn.init.constant_(model.head.bbox_pred.bias, 2.0)
        self.weights = model.state_dict()
        self.stock = family.stock(self.family).eval()
        self.stock.load_state_dict(self.weights)

    def build(self, *options):
        torch.manual_seed(0)
        model = build_model(zoo_config(self.family.config, *SMALL, *self.family.options, *options)).eval()
        if hasattr(self, "weights"):
            model.load_state_dict(self.weights)
        return model

    @property
    def stock_threshold(self):
        if hasattr(self.stock, "test_nms_thresh"):
            return self.stock.test_nms_thresh
        predictor = self.stock.roi_heads.box_predictor
        return (predictor[-1] if isinstance(predictor, torch.nn.ModuleList) else predictor).test_nms_thresh


@pytest.fixture(scope="module", params=[f for f in FAMILIES if f.name in NAMES], ids=lambda family: family.name)
def case(request):
    return Case(request.param)


@pytest.fixture(scope="module")
def suppressing(case):
    """The case's detector with thresholds that both spare and drop boxes."""
    return case.build(*nms_options(*THRESHOLDS))


def detect(model, inputs=INPUTS):
    with torch.no_grad():
        return [result["instances"] for result in model(inputs)]


def assert_same(found, wanted):
    """The same fields with the same values, bit for bit."""
    for one, other in zip(found, wanted, strict=True):
        assert one.image_size == other.image_size and set(one.get_fields()) == set(other.get_fields())
        for name, value in other.get_fields().items():
            mine = one.get(name)
            assert torch.equal(getattr(mine, "tensor", mine), getattr(value, "tensor", value)), name


def assert_stock_without_a_word_of_the_maps(case):
    model, expected = case.build(*nms_options(case.stock_threshold, -1.0, 2.0)), detect(case.stock)
    candidates = model.candidate_trace(INPUTS).instances
    assert all(5 < len(result) < len(found) for result, found in zip(expected, candidates, strict=True))
    assert_same(detect(model), expected)
    assert_same(model.trace(INPUTS).instances, expected)


def test_without_a_word_of_the_maps_detections_are_the_stock_ones(case):
    assert_stock_without_a_word_of_the_maps(case)


@pytest.mark.filterwarnings("ignore:maps are approximate")
@pytest.mark.parametrize("name", ["mask_rcnn_c4", "cascade_mask", "fcos_group_norm"])
def test_so_they_are_with_masks_c4_and_group_norm(name):
    family = next(family for family in FAMILIES if family.name == name)
    assert_stock_without_a_word_of_the_maps(Case(family, "MODEL.RPN.POST_NMS_TOPK_TEST", 6))


def test_switched_off_its_other_keys_change_nothing(case):
    off = case.build("ODAM.NMS.IOU_THRESH", 0.1, "ODAM.NMS.LOW", 0.1, "ODAM.NMS.MAX_CANDIDATES", 1)
    assert off.odam_nms is None
    assert_same(detect(off), detect(case.stock))
    with pytest.raises(RuntimeError, match="`odam_nms` must be set .* set ODAM.NMS.ENABLED to True"):
        off.candidate_trace(INPUTS)


def test_keeps_what_a_plain_loop_over_autograds_maps_keeps(suppressing):
    trace = suppressing.candidate_trace(INPUTS)
    # The class score itself, without FCOS's centerness.
    attribute = "logit" if type(suppressing).__name__ == "OdamFCOS" else "score"
    maps = build_explainer(suppressing, attributes=(attribute,), engine="autograd").heat_maps(trace)
    assert [len(one) for one in maps] == [len(found) for found in trace.instances]
    spared, dropped = 0, 0
    for found, heatmaps, result in zip(trace.instances, maps, detect(suppressing), strict=True):
        boxes, scores = found.pred_boxes.tensor.tolist(), found.scores.tolist()
        similarity = heatmaps.similarity(attribute, stride=8.0)
        # No decision hangs on rounding.
        assert float((similarity[..., None] - torch.tensor(THRESHOLDS[1:])).abs().min()) > 1e-5
        arguments = (boxes, scores, found.pred_classes.tolist(), similarity.tolist())
        kept = plain_odam_nms(*arguments, *THRESHOLDS)[:45]
        stock = plain_odam_nms(*arguments, THRESHOLDS[0], -1, 2)
        spared, dropped = spared + len(set(kept) - set(stock)), dropped + len(set(stock) - set(kept))
        expected = found[kept]
        expected.pred_boxes.scale(
            result.image_size[1] / found.image_size[1], result.image_size[0] / found.image_size[0]
        )
        expected.pred_boxes.clip(result.image_size)
        expected = expected[expected.pred_boxes.nonempty()]
        assert torch.equal(result.pred_boxes.tensor, expected.pred_boxes.tensor)
        assert torch.equal(result.scores, expected.scores) and torch.equal(result.pred_classes, expected.pred_classes)
    assert spared > 0 and dropped > 0


def test_what_is_traced_and_explained_is_what_inference_reports(suppressing):
    expected = detect(suppressing)
    trace = suppressing.trace(INPUTS)
    assert_same(trace.instances, expected)
    with torch.no_grad():
        said = trace.head.predict(trace.features, trace)
    assert torch.allclose(said.scores, torch.cat([one.scores for one in expected]), atol=1e-6)
    for result, wanted in zip(
        build_explainer(suppressing, attributes=("score", "left"))(INPUTS), expected, strict=True
    ):
        heatmaps = result["instances"].heatmaps
        result["instances"].remove("heatmaps")
        assert_same([result["instances"]], [wanted])
        assert isinstance(heatmaps, HeatMaps) and len(heatmaps) == len(wanted)


def test_works_whatever_mode_its_caller_is_in(suppressing):
    expected = detect(suppressing)
    with torch.enable_grad():
        plain = [result["instances"] for result in suppressing(INPUTS)]
    with torch.inference_mode():
        quick = [result["instances"] for result in suppressing(INPUTS)]
        traced = suppressing.trace(INPUTS).instances
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = detect(suppressing)
    for found in (plain, quick, traced, half):
        assert_same(found, expected)
    assert not any(one.scores.requires_grad or one.pred_boxes.tensor.requires_grad for one in plain)


def test_leaves_the_model_as_it_was(suppressing):
    before = [(module.training, len(module._forward_hooks)) for module in suppressing.modules()]
    asked = [parameter.requires_grad for parameter in suppressing.parameters()]
    detect(suppressing)
    assert [(module.training, len(module._forward_hooks)) for module in suppressing.modules()] == before
    assert [parameter.requires_grad for parameter in suppressing.parameters()] == asked
    assert all(parameter.grad is None for parameter in suppressing.parameters())


def test_evaluation_in_the_detectron2_manner(suppressing):
    class Collect(DatasetEvaluator):
        """Keeps what it is shown."""

        def reset(self):
            self.seen = []

        def process(self, inputs, outputs):
            self.seen += [output["instances"] for output in outputs]

        def evaluate(self):
            return {"seen": self.seen}

    seen = inference_on_dataset(suppressing, [[entry] for entry in INPUTS], Collect())["seen"]
    assert_same(seen, [detect(suppressing, [entry])[0] for entry in INPUTS])


def test_a_copy_of_the_detector_explains_itself(suppressing):
    expected = detect(suppressing)
    twin = copy.deepcopy(suppressing)
    assert_same(detect(twin), expected)
    assert twin.odam_nms._explainer.model is twin


def test_no_candidates(suppressing, monkeypatch):
    if hasattr(suppressing, "roi_heads"):
        predictor = suppressing.roi_heads.box_predictor
        predictor = predictor[-1] if isinstance(predictor, torch.nn.ModuleList) else predictor
        monkeypatch.setattr(predictor, "test_score_thresh", 2.0)
    else:
        monkeypatch.setattr(suppressing, "test_score_thresh", 2.0)
    assert [len(result) for result in detect(suppressing)] == [0, 0]
    assert len(suppressing.trace(INPUTS)) == 0


def test_only_the_best_candidates_are_compared(case):
    model = case.build(*nms_options(*THRESHOLDS, "ODAM.NMS.MAX_CANDIDATES", 7))
    everything = case.build(*nms_options(*THRESHOLDS)).candidate_trace(INPUTS).instances
    for few, many in zip(model.candidate_trace(INPUTS).instances, everything, strict=True):
        best = many.scores.sort(descending=True, stable=True).indices[:7]
        assert_same([few], [many[best.sort().values]])
    assert all(1 <= len(result) <= 7 for result in detect(model))


def test_detections_of_a_image_are_capped(case):
    whole = detect(case.build(*nms_options(*THRESHOLDS)))
    capped = detect(case.build(*nms_options(*THRESHOLDS), "TEST.DETECTIONS_PER_IMAGE", 3))
    # Boxes of no size are dropped after they were counted.
    assert all(1 <= len(few) <= 3 for few in capped)
    assert_same(capped, [many[: len(few)] for few, many in zip(capped, whole, strict=True)])


def compact_config(name, *options):
    cfg = model_zoo.get_config(f"synthetic/{name}_compact_FPN")
    cfg.MODEL.DEVICE, cfg.INPUT.MIN_SIZE_TEST = "cpu", 128
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    cfg.merge_from_list(list(options))
    return cfg


def test_predictor():
    cfg = compact_config("faster_rcnn", *nms_options(*THRESHOLDS))
    predictor = DefaultPredictor(cfg)
    pixels = (random_input(96, 128)["image"].permute(1, 2, 0).numpy()).astype(np.uint8)
    assert len(predictor(pixels)["instances"]) > 0


def test_masks_are_made_for_the_kept_boxes():
    model = compact_detector("mask_rcnn", *nms_options(0.5, 0.3, 0.7), detections=6)
    (found,) = detect(model, INPUTS[:1])
    assert_same([found], model.trace(INPUTS[:1]).instances)
    assert found.pred_masks.shape == (len(found), 256, 320) and 0 < len(found) <= 6
    with torch.no_grad():
        (raw,) = model.inference(INPUTS[:1], do_postprocess=False)
        again = model.inference(INPUTS[:1], [copy.deepcopy(raw)], do_postprocess=False)[0]
    assert set(raw.get_fields()) == {"pred_boxes", "scores", "pred_classes", "pred_masks"}
    assert raw.image_size == (128, 160)
    assert torch.equal(again.pred_boxes.tensor, raw.pred_boxes.tensor)
    assert torch.allclose(again.pred_masks, raw.pred_masks, atol=1e-5)


class OwnHead(FCOSHead):
    """A head that the fast engine doesn't know."""


def test_an_unknown_head_is_explained_by_plain_autograd_with_a_warning():
    few = ("ODAM.FCOS.NORM", "", "ODAM.FCOS.SCORE_THRESH_TEST", 0.0, "ODAM.FCOS.TOPK_CANDIDATES_TEST", 6)
    known = compact_detector("fcos", *nms_options(0.5, 0.2, 0.8, *few), detections=20)
    expected = detect(known)
    unknown = copy.deepcopy(known)
    unknown.head.__class__ = OwnHead
    with pytest.warns(UserWarning, match="plain autograd, exact but slow, since the head OwnHead is not FCOSHead"):
        assert_same(detect(unknown), expected)


def test_a_detector_that_suppresses_in_its_own_way_is_named():
    class OwnHeads(OdamStandardROIHeads):
        """Chooses what it likes."""

        def choose(self, stages):
            return super().choose(stages)

    class OwnPredictor(FastRCNNOutputLayers):
        """So does this one."""

        def inference(self, predictions, proposals):
            return super().inference(predictions, proposals)

    class OwnFCOS(OdamFCOS):
        """And this one."""

        def inference_single_image(self, *args):
            return super().inference_single_image(*args)

    heads = compact_detector("faster_rcnn").roi_heads
    assert heads.why_suppresses_itself() is None
    heads.__class__ = OwnHeads
    assert heads.why_suppresses_itself() == "OwnHeads overrides `choose`"
    heads.__class__ = OdamStandardROIHeads
    heads.box_predictor.__class__ = OwnPredictor
    model = compact_detector("faster_rcnn")
    parts = {name: getattr(model, name) for name in ("backbone", "proposal_generator")}
    about = {"pixel_mean": [0.0] * 3, "pixel_std": [1.0] * 3, "odam_nms": OdamNMS(**TWO_STAGE)}
    with pytest.raises(TypeError, match="`odam_nms` must stand in .* OwnPredictor does not choose as"):
        type(model)(**parts, **about, roi_heads=heads)
    arguments = OdamFCOS.from_config(compact_config("fcos", "ODAM.NMS.ENABLED", True))
    with pytest.raises(TypeError, match="`odam_nms` must stand in .* OwnFCOS overrides `inference_single_image`"):
        OwnFCOS(**arguments)


@pytest.mark.parametrize(
    "name, published",
    [("faster_rcnn", TWO_STAGE), ("cascade_rcnn", TWO_STAGE), ("retinanet", ONE_STAGE), ("fcos", ONE_STAGE)],
)
def test_thresholds_are_the_published_ones_unless_a_config_says_otherwise(name, published):
    assert TWO_STAGE == {"iou_threshold": 0.6, "low": 0.3, "high": 0.7, "attribute": "score"}
    assert ONE_STAGE == {"iou_threshold": 0.5, "low": 0.2, "high": 0.8, "attribute": "logit"}
    nms = compact_detector(name, "ODAM.NMS.ENABLED", True).odam_nms
    assert nms.thresholds == (published["iou_threshold"], published["low"], published["high"])
    assert (nms.stride, nms.max_candidates, nms.attribute) == (8.0, 1000, published["attribute"])
    asked = ("ODAM.NMS.ENABLED", True, "ODAM.NMS.HIGH", 1, "ODAM.NMS.STRIDE", 16.0, "ODAM.NMS.ATTRIBUTE", "left")
    nms = compact_detector(name, *asked).odam_nms
    assert nms.thresholds == (published["iou_threshold"], published["low"], 1.0)
    assert (nms.stride, nms.attribute) == (16.0, "left")


def test_lazy_configs_have_it_as_an_argument():
    path = Path(__file__).parents[1] / "configs" / "lazy" / "COCO-Detection" / "fcos_R_50_FPN_1x.py"
    cfg = LazyConfig.load(str(path)).model
    cfg.odam_nms = LazyCall(OdamNMS)(**ONE_STAGE, stride=16.0)
    with torch.device("meta"):
        nms = instantiate(cfg).odam_nms
    assert nms.thresholds == (0.5, 0.2, 0.8) and nms.stride == 16.0


@pytest.mark.parametrize(
    "change, message",
    [
        ({"iou_threshold": 2.0}, "`iou_threshold` must be in"),
        ({"low": 0.9}, "`low` must be at most `high`"),
        ({"stride": 0.0}, "`stride` must be a number > 0; got 0.0"),
        ({"max_candidates": 0}, "`max_candidates` must be at least 1; got 0"),
    ],
)
def test_errors_name_the_argument(change, message):
    with pytest.raises(ValueError, match=message):
        OdamNMS(**{**TWO_STAGE, **change})


def test_candidates_are_not_traced_in_training_mode(suppressing):
    suppressing.train()
    try:
        with pytest.raises(RuntimeError, match="eval mode"):
            suppressing.candidate_trace(INPUTS)
    finally:
        suppressing.eval()
