"""OdamRCNN: the stock detector, bit for bit, that also remembers."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes
from torch import nn

from odam_d2.explain import build_explainer
from odam_d2.modeling import OdamStandardROIHeads
from odam_d2.utils.checkpoint import load_checkpoint_strictly
from tests.helpers import given, random_detector, random_input, relative_error, zoo_config

ZOO = "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml"
KEEP_ALL = ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, "TEST.DETECTIONS_PER_IMAGE", 30)


@pytest.fixture(scope="module")
def pair():
    """Our detector and the stock one with the same random weights."""
    ours = random_detector(zoo_config(ZOO, *KEEP_ALL))
    stock = build_model(zoo_config(ZOO, *KEEP_ALL, traced=False)).eval()
    stock.load_state_dict(ours.state_dict())
    return ours, stock


INPUTS = [random_input(160, 224, 320, 448), random_input(192, 160, seed=1)]


def assert_same_detections(found, expected):
    assert len(found) == len(expected)
    assert found.image_size == expected.image_size
    assert set(found.get_fields()) == set(expected.get_fields())
    assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
    assert torch.equal(found.scores, expected.scores)
    assert torch.equal(found.pred_classes, expected.pred_classes)


def test_detections_are_the_stock_models_bit_for_bit(pair):
    ours, stock = pair
    with torch.no_grad():
        expected = stock(INPUTS)
        plain = ours(INPUTS)
    traced = ours.trace(INPUTS).instances
    assert type(stock).__name__ == "GeneralizedRCNN" and type(ours).__name__ == "OdamRCNN"
    for number in range(len(INPUTS)):
        assert len(expected[number]["instances"]) == 30
        assert_same_detections(plain[number]["instances"], expected[number]["instances"])
        assert_same_detections(traced[number], expected[number]["instances"])


def test_weights_have_the_stock_names(pair, tmp_path):
    ours, stock = pair
    assert list(ours.state_dict()) == list(stock.state_dict())
    torch.save({"model": stock.state_dict()}, tmp_path / "zoo.pth")
    load_checkpoint_strictly(ours, tmp_path / "zoo.pth")  # raises where a key is missing, unexpected or misshapen


@pytest.mark.parametrize(
    "name",
    ["COCO-Detection/faster_rcnn_R_50_DC5_3x.yaml", "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml",
     "COCO-Detection/faster_rcnn_R_101_FPN_3x.yaml", "COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml"],
)  # fmt: skip
def test_other_zoo_detectors_have_the_stock_names_too(name):
    # On the meta device: names and shapes without the memory.
    ours, stock = (build_model(zoo_config(name, "MODEL.DEVICE", "meta", traced=traced)) for traced in (True, False))
    assert type(ours).__name__ == "OdamRCNN" and type(stock).__name__ == "GeneralizedRCNN"
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in stock.state_dict().items()}


def test_rows_survive_the_loss_of_empty_boxes(pair, monkeypatch):
    ours, stock = pair

    class Flatten(nn.Module):
        """Lets the boxes of every second proposal collapse to a line, which post-processing drops."""

        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            deltas = self.inner(x).clone()
            deltas[::2, 2::4] = -1e4
            return deltas

    for model in pair:
        predictor = model.roi_heads.box_predictor
        monkeypatch.setitem(predictor._modules, "bbox_pred", Flatten(predictor.bbox_pred))
    with torch.no_grad():
        expected = stock(INPUTS[:1])[0]["instances"]
    trace = ours.trace(INPUTS[:1])
    assert_same_detections(trace.instances[0], expected)
    assert 0 < len(trace) < 30 and bool((trace.rows % 2 == 1).all())


def test_non_finite_rows_are_skipped_as_stock_does_and_indices_still_fit(pair, monkeypatch):
    ours, stock = pair

    class BreakRows(nn.Module):
        """Makes every third proposal's first logit NaN."""

        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            logits = self.inner(x).clone()
            logits[::3, 0] = float("nan")
            return logits

    for model in pair:
        predictor = model.roi_heads.box_predictor
        monkeypatch.setitem(predictor._modules, "cls_score", BreakRows(predictor.cls_score))
    with torch.no_grad():
        expected = stock(INPUTS[:1])[0]["instances"]
    trace = ours.trace(INPUTS[:1])
    assert_same_detections(trace.instances[0], expected)
    assert len(trace) == 30 and bool((trace.rows % 3 != 0).all())
    (proposals,) = trace.head.stages[0].everyone
    assert torch.equal(proposals[trace.rows], trace.references)


def test_given_boxes_become_the_rois(pair):
    ours, _ = pair
    boxes = [given((320, 448), [[20, 40, 200, 300], [400, 10, 440, 60]], [7, 3]), given((192, 160), [], [])]
    trace = ours.trace(INPUTS, boxes)
    assert trace.references.tolist() == [[10, 20, 100, 150], [200, 5, 220, 30]]
    assert trace.rows.tolist() == [-1, -1] and trace.classes.tolist() == [7, 3] and trace.image_index.tolist() == [0, 0]
    assert torch.equal(trace.instances[0].pred_boxes.tensor, boxes[0].pred_boxes.tensor)
    assert len(trace.instances[1]) == 0
    # The scores are those that the stock head gives these RoIs.
    heads = ours.roi_heads
    with torch.no_grad():
        features = ours.backbone(ours.preprocess_image(INPUTS).tensor)
        levels = [features[name] for name in heads.box_in_features]
        pooled = heads.box_pooler(levels, [Boxes(trace.references), Boxes(torch.zeros(0, 4))])
        probabilities = heads.box_predictor(heads.box_head(pooled))[0].softmax(-1)
    assert torch.allclose(trace.instances[0].scores, probabilities[[0, 1], [7, 3]], atol=1e-6)


def test_one_image_without_any_detection(pair, monkeypatch):
    ours, _ = pair
    monkeypatch.setattr(ours.roi_heads.box_predictor, "test_score_thresh", 2.0)
    trace = ours.trace(INPUTS)
    assert len(trace) == 0 and [len(i) for i in trace.instances] == [0, 0]


def test_training_mode_is_refused(pair):
    ours, _ = pair
    ours.train()
    try:
        with pytest.raises(RuntimeError, match="eval mode"):
            ours.trace(INPUTS)
    finally:
        ours.eval()


def test_roi_heads_without_a_trace_are_named():
    cfg = zoo_config(ZOO, traced=False)
    cfg.MODEL.META_ARCHITECTURE = "OdamRCNN"
    with pytest.raises(TypeError, match="got StandardROIHeads.*OdamStandardROIHeads"):
        build_model(cfg).eval().trace(INPUTS[:1])


def test_roi_heads_that_trace_something_else_are_named_and_explained_as_they_detect(pair):
    ours, _ = pair

    class FirstOnly(OdamStandardROIHeads):
        """Changes inference, but not what is traced."""

        def _forward_box(self, features, proposals):
            return [found[:1] for found in super()._forward_box(features, proposals)]

    heads = ours.roi_heads
    expected = build_explainer(ours, attributes=("score",))(INPUTS)
    heads.__class__ = FirstOnly
    try:
        with pytest.raises(TypeError, match="FirstOnly.*override `run_box_stages`"):
            ours.trace(INPUTS)
        found = build_explainer(ours, attributes=("score",))(INPUTS)
    finally:
        heads.__class__ = OdamStandardROIHeads
    for one, other in zip(found, expected, strict=True):
        one, other = one["instances"], other["instances"][:1]
        assert torch.equal(one.scores, other.scores)
        maps = (each.heatmaps.to_image("score", normalize=False) for each in (one, other))
        assert relative_error(*maps) < 1e-5
