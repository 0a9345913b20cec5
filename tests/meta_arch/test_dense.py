"""OdamRetinaNet and OdamFCOS: the stock detectors, bit for bit, that also remember."""

import copy

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.modeling.meta_arch.fcos import FCOS
from detectron2.modeling.meta_arch.retinanet import RetinaNet
from detectron2.structures import Boxes, pairwise_iou

from odam_d2.explain import build_explainer
from tests.explain.engines.test_dense import ALL, INPUTS, SMALL, ZOO, dense_detector
from tests.helpers import ROUNDING, given, zoo_config


@pytest.fixture(scope="module", params=["RetinaNet", "OdamFCOS"])
def pair(request):
    """Our detector and the stock one with the same weights."""
    ours = dense_detector(request.param, "")
    if request.param == "RetinaNet":
        stock = build_model(zoo_config(ZOO, *SMALL, *ALL, traced=False)).eval()
        assert type(stock) is RetinaNet
    else:
        arguments = type(ours).from_config(zoo_config(ZOO, *SMALL, *ALL, "ODAM.FCOS.NORM", ""))
        stock = FCOS(**arguments).eval()
    stock.load_state_dict(ours.state_dict())
    return ours, stock


def test_detections_are_the_stock_models_bit_for_bit(pair):
    ours, stock = pair
    with torch.no_grad():
        expected, plain = stock(INPUTS), ours(INPUTS)
    traced = ours.trace(INPUTS).instances
    for number in range(len(INPUTS)):
        wanted = expected[number]["instances"]
        for found in (plain[number]["instances"], traced[number]):
            assert set(found.get_fields()) == set(wanted.get_fields()) == {"pred_boxes", "scores", "pred_classes"}
            assert torch.equal(found.pred_boxes.tensor, wanted.pred_boxes.tensor)
            assert torch.equal(found.scores, wanted.scores)
            assert torch.equal(found.pred_classes, wanted.pred_classes)
    assert sum(len(r["instances"]) for r in expected) >= 4


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_predictions_said_again_are_those_of_detection(pair, memory_format):
    """With channels last inference would write its scores over what the trace keeps."""
    ours = copy.deepcopy(pair[0]).to(memory_format=memory_format)
    trace = ours.trace(INPUTS)
    vectors = trace.head.class_vectors(trace)[torch.arange(len(trace)), trace.classes]
    if isinstance(ours, RetinaNet):  # FCOS reports the root of this and the centerness
        assert torch.allclose(vectors, torch.cat([i.scores for i in trace.instances]), atol=1e-6)
    with torch.no_grad():
        said = trace.head.predict(trace.features, trace)
        from_maps = trace.head.decode(trace.head.gather(trace.head.maps, trace), trace)
    for predictions in (said, from_maps):
        assert torch.allclose(predictions.scores, torch.cat([i.scores for i in trace.instances]), atol=1e-6)
        clipped = Boxes(predictions.boxes.clone())
        sizes = torch.tensor(trace.image_sizes)[trace.image_index].flip(1).repeat(1, 2)
        clipped.tensor = torch.minimum(clipped.tensor.clamp(min=0), sizes)
        assert torch.allclose(clipped.tensor, trace.boxes, atol=1e-2)


def test_given_boxes_are_explained_through_an_anchor_that_is_named(pair):
    ours, _ = pair
    boxes = [given((448, 640), [[100, 100, 164, 164], [150, 60, 420, 330]], [7, 3]), given((256, 192), [], [])]
    trace = ours.trace(INPUTS, boxes)
    assert trace.classes.tolist() == [7, 3] and [len(i) for i in trace.instances] == [2, 0]
    found = trace.instances[0]
    assert torch.allclose(found.anchor_boxes.tensor / 2, trace.references)  # 448 x 640 enters at half its size
    assert found.anchor_levels.tolist() == trace.level_index[:, 0].tolist()
    levels = [trace.features[name] for name in trace.level_names]
    anchors = ours.anchor_generator(levels)
    for level, row, anchor in zip(trace.level_index[:, 0], trace.rows, trace.references, strict=True):
        assert torch.equal(anchors[int(level)].tensor[int(row)], anchor)


def test_retinanets_anchor_is_the_one_of_highest_iou():
    ours = dense_detector("RetinaNet", "")
    trace = ours.trace(INPUTS[:1], [given((448, 640), [[100, 100, 164, 164], [150, 60, 420, 330]], [0, 0])])
    anchors = Boxes.cat(ours.anchor_generator([trace.features[name] for name in trace.level_names]))
    best = pairwise_iou(Boxes(trace.boxes), anchors).amax(1)
    chosen = pairwise_iou(Boxes(trace.boxes), Boxes(trace.references)).diag()
    assert torch.allclose(chosen, best, rtol=ROUNDING, atol=0.0)


def test_a_small_object_is_explained_through_its_best_anchor_as_it_is_trained():
    ours = dense_detector("RetinaNet", "")
    trace = ours.trace(INPUTS[:1], [given((448, 640), [[100, 100, 118, 118]], [0])])
    assert 0 < float(pairwise_iou(Boxes(trace.boxes), Boxes(trace.references))) < 0.4


def test_inference_of_ones_own_is_named():
    ours = dense_detector("RetinaNet", "")

    class FirstOnly(type(ours)):
        """Keeps one box an image."""

        def forward_inference(self, images, features, predictions):
            return [result[:1] for result in super().forward_inference(images, features, predictions)]

    ours.__class__ = FirstOnly
    with pytest.raises(TypeError, match="FirstOnly, which overrides `forward_inference`"):
        ours.trace(INPUTS[:1])
    # Its own forward pass leaves a graph all the same.
    with torch.no_grad():
        expected = ours(INPUTS[:1])[0]["instances"]
    found = build_explainer(ours, attributes=("score",))(INPUTS[:1])[0]["instances"]
    assert len(found) == 1 and torch.equal(found.scores, expected.scores)
    assert bool(found.heatmaps.to_image("score").any())


def test_many_boxes_are_matched_in_parts(pair, monkeypatch):
    ours, _ = pair
    boxes = [given((448, 640), [[100 + k, 100, 164 + k, 164] for k in range(5)], [0] * 5)]
    whole = ours.trace(INPUTS[:1], boxes)
    monkeypatch.setattr("odam_d2.meta_arch.dense.MATCHED_AT_ONCE", 2)
    assert torch.equal(ours.trace(INPUTS[:1], boxes).rows, whole.rows)


def test_a_box_that_no_anchor_fits_is_named(pair, monkeypatch):
    ours, _ = pair
    if hasattr(ours, "anchor_matcher"):
        monkeypatch.setattr(ours.anchor_matcher, "allow_low_quality_matches", False)
    fits, thin = [100, 100, 164, 164], [10, 200, 11, 204]
    with pytest.raises(ValueError, match=r"box 1 of `instances\[0\]` must fit an anchor"):
        ours.trace(INPUTS[:1], [given((448, 640), [fits, thin], [0, 0])])


def test_training_mode_is_refused(pair):
    ours, _ = pair
    ours.train()
    try:
        with pytest.raises(RuntimeError, match="eval mode"):
            ours.trace(INPUTS)
    finally:
        ours.eval()
