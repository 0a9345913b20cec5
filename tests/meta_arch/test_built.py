"""Detectors that are already built: explained as they are, and left as they were."""

import logging

import pytest
import torch
from detectron2.layers import batched_nms
from detectron2.modeling import GeneralizedRCNN, build_model
from detectron2.modeling.roi_heads import FastRCNNOutputLayers, StandardROIHeads
from detectron2.projects.point_rend import add_pointrend_config
from detectron2.structures import Boxes, Instances
from torch import nn
from torch.nn import functional as F

from odam_d2.explain import build_explainer, known_attributes
from odam_d2.meta_arch import BuiltDetector, GraphDetector
from odam_d2.predictor import OdamPredictor
from odam_d2.utils.calibration import calibrate_frozen_norms
from tests.explain.test_base import assert_unchanged, state_of, unusual
from tests.families import FAMILIES, R18, SMALL
from tests.helpers import assert_fast_is_plain_and_stock, given, random_input, relative_error, zoo_config

INPUTS = [random_input(128, 160, 256, 320), random_input(96, 128, seed=1)]
BY_NAME = {family.name: family for family in FAMILIES}


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.name)
def case(request):
    """A family, our detector built from a config, and Detectron2's own with the same weights."""
    return request.param, *request.param.pair()


@pytest.fixture
def stock():
    """A stock Faster R-CNN."""
    return BY_NAME["faster_rcnn_fpn"].pair()[1]


def instances(results):
    return [next(iter(one.values())) if "instances" not in one else one["instances"] for one in results]


@pytest.mark.filterwarnings("error:explaining by plain autograd")
def test_a_stock_detector_is_explained_as_ours_is(case):
    family, ours, stock = case
    kind, before = type(stock), state_of(stock)
    parts = [type(module) for module in stock.modules()]
    options = {"group_norm": family.group_norm, "attributes": tuple(known_attributes(stock))}
    assert known_attributes(stock) == known_attributes(ours)
    found, expected = (build_explainer(model, **options)(INPUTS) for model in (stock, ours))
    with torch.no_grad():
        plain = stock(INPUTS)
    # Beside what is explained stands what the stock detector gives: the proposals of a proposal network, for one.
    assert all(set(one) == {"instances", *result} for one, result in zip(found, plain, strict=True))
    for one, other, result in zip(instances(found), instances(expected), plain, strict=True):
        assert torch.equal(one.heatmaps.values, other.heatmaps.values)
        for name, value in result[family.key].get_fields().items():
            mine = one.get(name)
            assert torch.equal(getattr(mine, "tensor", mine), getattr(value, "tensor", value)), name
    assert type(stock) is kind and [type(module) for module in stock.modules()] == parts
    assert_unchanged(before, state_of(stock))


def test_state_is_shared_and_stays_right(stock):
    explainer = build_explainer(unusual(stock), attributes=("score",))
    before = state_of(stock)
    first = explainer(INPUTS)[0]["instances"]
    assert_unchanged(before, state_of(stock))
    # Weights, settings and submodules that change afterwards are the explainer's too.
    with torch.no_grad():
        stock.roi_heads.box_predictor.cls_score.weight.mul_(0.5)
    assert not torch.equal(explainer(INPUTS)[0]["instances"].scores, first.scores)
    stock.roi_heads.box_predictor.test_topk_per_image = 1
    assert [len(result["instances"]) for result in explainer(INPUTS)] == [1, 1]
    stock.roi_heads.box_predictor = FastRCNNOutputLayers(
        stock.roi_heads.box_head.output_shape, box2box_transform=stock.roi_heads.box_predictor.box2box_transform,
        num_classes=5, test_score_thresh=2.0,
    )  # fmt: skip
    assert [len(result["instances"]) for result in explainer(INPUTS)] == [0, 0]
    stock.eval()
    assert not explainer.model.training and build_explainer(stock).model is explainer.model
    # No module is added, and none knows of the explainer.
    assert not any(isinstance(module, BuiltDetector) for module in stock.modules())


def test_after_an_error_the_detector_is_as_it_was(stock):
    explainer = build_explainer(unusual(stock))
    before = state_of(stock)
    with pytest.raises(ValueError, match="fractions"):
        explainer(INPUTS, [given((256, 320), [[0.1, 0.2, 0.5, 0.9]], [0]), given((96, 128), [], [])])
    assert_unchanged(before, state_of(stock))
    assert type(stock) is GeneralizedRCNN


def test_the_predictor_takes_it_too(stock, caplog):
    caplog.set_level(logging.INFO)
    predictor = OdamPredictor.of(stock, min_size=0)
    for _ in range(2):
        found = predictor(INPUTS[1]["image"].permute(1, 2, 0).byte().numpy())["instances"]
    assert len(found) == len(found.heatmaps) == 2
    told = [record.message for record in caplog.records if record.message.startswith("explaining")]
    assert told == ["explaining GeneralizedRCNN with the RoI engine, as the stock class that it is"]


def test_given_boxes_of_a_built_detector(case):
    family, ours, stock = case
    boxes = [given((256, 320), [[20, 30, 180, 200]], [1]), given((96, 128), [[40, 20, 90, 80]], [2])]
    options = {"attributes": ("score",), "group_norm": family.group_norm}
    pairs = zip(*(build_explainer(model, **options)(INPUTS, boxes) for model in (stock, ours)), strict=True)
    for one, other in pairs:
        assert torch.equal(one["instances"].heatmaps.values, other["instances"].heatmaps.values)


# Two-stage detectors with heads of their own.


class ExtraConvolution(StandardROIHeads):
    """Another layer between pooler and head, in a method that ours replaces."""

    def _forward_box(self, features, proposals):
        pooled = self.box_pooler([features[k] for k in self.box_in_features], [x.proposal_boxes for x in proposals])
        predictions = self.box_predictor(self.box_head(self.extra(pooled)))
        return self.box_predictor.inference(predictions, proposals)[0]


class Mixing(StandardROIHeads):
    """RoIs that see each other between two parts that are known."""

    def _forward_box(self, features, proposals):
        pooled = self.box_pooler([features[k] for k in self.box_in_features], [x.proposal_boxes for x in proposals])
        hidden = self.box_head(pooled)
        predictions = self.box_predictor(hidden - 0.5 * hidden.mean(0))
        return self.box_predictor.inference(predictions, proposals)[0]


class Cosine(FastRCNNOutputLayers):
    """Logits are cosines between features and weights."""

    def forward(self, x):
        _, deltas = super().forward(x)
        return 20 * F.normalize(x, dim=1) @ F.normalize(self.cls_score.weight, dim=1).T, deltas


class BatchStatistics(nn.BatchNorm1d):
    """Takes its statistics from the batch also in eval mode."""

    def forward(self, x):
        return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)


class Voting(FastRCNNOutputLayers):
    """Moves the boxes after they were chosen, so that none is found among what was predicted."""

    def inference(self, predictions, proposals):
        found, kept = super().inference(predictions, proposals)
        for one in found:
            one.pred_boxes = Boxes(one.pred_boxes.tensor * 0.9)
        return found, kept


class Halving(FastRCNNOutputLayers):
    """Reports other scores than it says by itself."""

    def inference(self, predictions, proposals):
        found, kept = super().inference(predictions, proposals)
        for one in found:
            one.scores = one.scores * 0.5
        return found, kept


def heads_of(kind, predictor=FastRCNNOutputLayers):
    """A stock detector with RoI heads and predictor of a user's class."""
    torch.manual_seed(0)
    model = BY_NAME["faster_rcnn_fpn"].pair()[1]
    model.roi_heads.__class__ = kind
    model.roi_heads.extra = nn.Conv2d(32, 32, 3, padding=1).eval()
    model.roi_heads.box_predictor.__class__ = predictor
    return model


def told_by(caplog):
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("explaining")]


@pytest.mark.parametrize(
    "kind, predictor",
    [(ExtraConvolution, FastRCNNOutputLayers), (StandardROIHeads, Cosine), (ExtraConvolution, Cosine)],
)
def test_heads_of_ones_own_have_the_fast_engine(kind, predictor, caplog):
    caplog.set_level(logging.INFO)
    model = heads_of(kind, predictor)
    before = state_of(model)
    attributes = ("score", "logit", "left", "y2")
    fast, plain = (build_explainer(model, attributes=attributes, engine=name)(INPUTS) for name in ("roi", "autograd"))
    with torch.no_grad():
        stock = model(INPUTS)
    assert_fast_is_plain_and_stock(fast, plain, stock, attributes)
    assert_unchanged(before, state_of(model))
    (told,) = told_by(caplog)
    assert "with the RoI engine" in told and ("overrides `_forward_box`" in told) == (kind is ExtraConvolution)


def test_a_detection_that_was_found_again_has_the_map_of_the_graph(smooth_relus):
    model = heads_of(ExtraConvolution)
    found, graph = (
        build_explainer(one, attributes=("score",))(INPUTS[:1])[0]["instances"] for one in (model, GraphDetector(model))
    )
    maps = (one.heatmaps.to_image("score", normalize=False) for one in (found, graph))
    assert relative_error(*maps) < 3e-6


def test_given_boxes_go_through_heads_of_ones_own():
    model = heads_of(ExtraConvolution)
    boxes = [given((256, 320), [[20, 30, 180, 200], [10, 10, 310, 250]], [1, 3]), given((96, 128), [], [])]
    found = build_explainer(model, attributes=("score",))(INPUTS, boxes)[0]["instances"]
    heads = model.roi_heads
    with torch.no_grad():
        features = model.backbone(model.preprocess_image(INPUTS).tensor)
        rois = [Boxes(torch.tensor([[10.0, 15, 90, 100], [5, 5, 155, 125]])), Boxes(torch.zeros(0, 4))]
        pooled = heads.box_pooler([features[k] for k in heads.box_in_features], rois)
        scores = heads.box_predictor(heads.box_head(heads.extra(pooled)))[0].softmax(1)
    assert torch.allclose(found.scores, scores[[0, 1], [1, 3]], rtol=1e-5)


def test_rois_that_see_each_other_are_explained_with_all_of_them():
    model = heads_of(Mixing)
    with pytest.warns(UserWarning, match="explaining by plain autograd.*Mixing does not treat each RoI on its own"):
        found = build_explainer(model, attributes=("score",))(INPUTS[:1])[0]["instances"]
    graph = build_explainer(GraphDetector(model), attributes=("score",))(INPUTS[:1])[0]["instances"].heatmaps[0]
    # The level of the detection's own RoI is explained; the graph also knows those of the other RoIs.
    level = graph.strides[:, 0].tolist().index(float(found.heatmaps[0].strides[0, 0]))
    expected = graph.values[0].split(graph.windows[:, 2:].prod(1).tolist())[level].clamp(min=0)
    assert bool(expected.any())
    assert float((found.heatmaps.window(0, "score").flatten() - expected).abs().max() / expected.max()) < 1e-4


def test_batch_statistics_in_a_head_are_refused():
    model = heads_of(StandardROIHeads)
    model.roi_heads.box_head = nn.Sequential(model.roi_heads.box_head, BatchStatistics(32)).eval()
    before = state_of(model)
    with pytest.raises(ValueError, match=r"'roi_heads.box_head.1', a BatchStatistics that has a `forward` of its own"):
        build_explainer(model)(INPUTS)
    assert_unchanged(before, state_of(model))


def test_boxes_that_are_not_found_again_are_explained_by_the_graph(caplog):
    caplog.set_level(logging.INFO)
    found = build_explainer(heads_of(ExtraConvolution, Voting), attributes=("score",))(INPUTS)
    assert [len(result["instances"].heatmaps) for result in found] == [2, 2]
    (told,) = told_by(caplog)
    assert "by autograd on maps p2, p3, p4, p5, since detection 0 with score" in told


def test_other_scores_than_were_reported_are_not_explained(caplog):
    caplog.set_level(logging.INFO)
    model = heads_of(StandardROIHeads, Halving)
    found = build_explainer(model, attributes=("score",))(INPUTS)
    with torch.no_grad():
        stock = model(INPUTS)
    for one, result in zip(found, stock, strict=True):
        assert torch.equal(one["instances"].scores, result["instances"].scores)
    told = told_by(caplog)
    assert any("score that is explained must be the one that was reported" in one for one in told)
    assert "by autograd on maps" in told[-1]


class Drifting(FastRCNNOutputLayers):
    """Says something else whenever it is asked."""

    def forward(self, x):
        logits, deltas = super().forward(x)
        self.asked = getattr(self, "asked", 0) + 1
        return logits / self.asked, deltas


def test_a_detector_of_ours_steps_down_to_its_graph(caplog):
    caplog.set_level(logging.INFO)
    ours = BY_NAME["faster_rcnn_fpn"].detector()
    ours.roi_heads.box_predictor.__class__ = Halving
    explainer = build_explainer(ours, attributes=("score",))
    assert explainer.model is ours
    found = explainer(INPUTS)
    graph = build_explainer(GraphDetector(ours), attributes=("score",))(INPUTS)
    with torch.no_grad():
        stock = ours(INPUTS)
    for one, other, result in zip(found, graph, stock, strict=True):
        assert torch.equal(one["instances"].scores, result["instances"].scores)
        assert torch.equal(one["instances"].heatmaps.values, other["instances"].heatmaps.values)
    assert "explaining OdamRCNN by autograd on maps" in told_by(caplog)[-1]
    # By its graph there are no logits.
    with pytest.raises(ValueError, match=r"`attributes` must be among \['score', .*got \['score', 'logit'\]"):
        build_explainer(ours, attributes=("score", "logit"))(INPUTS)


@pytest.mark.filterwarnings("ignore:explaining by plain autograd")
def test_a_detector_that_says_other_scores_each_time_is_an_error_with_both():
    # Odam-NMS detects without a graph, so that there is nothing to step down to.
    family = BY_NAME["faster_rcnn_fpn"]
    ours = build_model(zoo_config(family.config, *SMALL, *family.options, "ODAM.NMS.ENABLED", True)).eval()
    calibrate_frozen_norms(ours, [random_input(128, 160)])
    ours.roi_heads.box_predictor.__class__ = Drifting
    with pytest.raises(RuntimeError, match=r"got 0\.\d+ for box \d+ of the batch, reported as 0\.\d+"):
        build_explainer(ours, attributes=("score",))(INPUTS)


# The graph of the detector's own pass.


@pytest.mark.parametrize("name", ["faster_rcnn_fpn", "mask_rcnn_c4", "cascade", "retinanet", "fcos"])
def test_the_graph_gives_the_same_maps(name, request):
    if name not in ("retinanet", "fcos"):  # RoI heads run on all proposals for the graph, otherwise on the detections
        request.getfixturevalue("smooth_relus")
    family = BY_NAME[name]
    stock = family.pair()[1]
    before = state_of(stock)
    # Corners that are not clipped: those of clipped sides are zero here, and not in our own detectors.
    graph = build_explainer(GraphDetector(stock), attributes=("score", "x1", "y2"))(INPUTS)
    fast = build_explainer(stock, attributes=("score", "x1", "y2"))(INPUTS)
    compared = 0
    for one, other, entry in zip(instances(graph), instances(fast), INPUTS, strict=True):
        assert torch.equal(one.scores, other.scores) and torch.equal(one.pred_boxes.tensor, other.pred_boxes.tensor)
        assert bool(other.heatmaps.to_image("score", False).any())
        for attribute, side, limit in (("score", None, None), ("x1", 0, 0), ("y2", 3, entry["height"])):
            if name == "cascade" and attribute == "score":
                continue  # its ReLU waits for the sum of the stages in the frame of the image, also on one level
            free = torch.ones(len(one), dtype=bool) if side is None else one.pred_boxes.tensor[:, side] != limit
            found, expected = (r.heatmaps.to_image(attribute, normalize=False)[free] for r in (one, other))
            if len(found):
                compared += 1
                assert relative_error(found, expected) < 3e-6, attribute
    assert compared >= 3
    assert_unchanged(before, state_of(stock))


class Stretched(GeneralizedRCNN):
    """A detector whose scores depend on all levels of the backbone, in a forward pass with an NMS of its own."""

    def forward(self, batched_inputs):
        images = self.preprocess_image(batched_inputs)
        features = self.change(self.backbone(images.tensor))
        proposals, _ = self.proposal_generator(images, features, None)
        heads = self.roi_heads
        pooled = heads.box_pooler([features[k] for k in heads.box_in_features], [p.proposal_boxes for p in proposals])
        logits, deltas = heads.box_predictor(self.between(heads.box_head(pooled)))
        context = sum(level.mean((1, 2, 3)) for level in features.values())
        counts = [len(p) for p in proposals]
        boxes = heads.box_predictor.predict_boxes((logits, deltas), proposals)
        results = []
        for number, (box, logit) in enumerate(zip(boxes, logits.split(counts), strict=True)):
            scores, classes = (logit[:, :-1] + context[number]).sigmoid().max(1)
            chosen = box.view(len(box), -1, 4)[torch.arange(len(box)), classes]
            keep = batched_nms(chosen.detach(), scores.detach(), classes, 0.5)[:2]
            found = Instances(images.image_sizes[number], scores=self.finish(scores[keep]), pred_classes=classes[keep])
            found.pred_boxes = Boxes(chosen[keep])
            results.append(found)
        return GeneralizedRCNN._postprocess(results, batched_inputs, images.image_sizes)

    def change(self, features):
        return features

    def between(self, hidden):
        return hidden

    def finish(self, scores):
        return scores


class Detached(Stretched):
    def between(self, hidden):
        return hidden.detach()

    def change(self, features):
        return {name: level.detach() for name, level in features.items()}


class WithoutGrad(Stretched):
    def forward(self, batched_inputs):
        with torch.no_grad():
            return super().forward(batched_inputs)


class Rooted(Stretched):
    def finish(self, scores):
        # The root of zero for the second detection: its gradient is 0 * inf.
        return torch.cat([scores[:1], (0 * scores[1:]).sqrt() + scores[1:].detach()])


def of_class(kind, name="faster_rcnn_fpn"):
    """A detector of a user's class with the weights of a stock one."""
    model = BY_NAME[name].pair()[1]
    model.__class__ = kind
    return model


def test_a_forward_of_ones_own_is_explained_on_all_maps_it_depends_on(caplog):
    caplog.set_level(logging.INFO)
    model = of_class(Stretched)
    explainer = build_explainer(model, attributes=("score",))
    found = explainer(INPUTS)
    assert told_by(caplog) == [
        "explaining Stretched by autograd on maps p2, p3, p4, p5, p6, since its RoI heads are not called as a whole"
    ]
    with torch.no_grad():
        plain = model(INPUTS)
    for result, expected in zip(found, plain, strict=True):
        assert torch.equal(result["instances"].scores, expected["instances"].scores)
        assert torch.equal(result["instances"].pred_boxes.tensor, expected["instances"].pred_boxes.tensor)
    # By hand: one gradient to every level, brought to the image and added there.
    maps = found[0]["instances"].heatmaps[0]
    windows = maps.values[0].split(maps.windows[:, 2:].prod(1).tolist())
    assert maps.strides[:, 0].tolist() == [4.0, 8.0, 16.0, 32.0, 64.0]
    with torch.no_grad():
        kept = model.backbone(model.preprocess_image(INPUTS).tensor)
    kept = {name: level.requires_grad_() for name, level in kept.items()}  # p6 is made of p5: leaves keep them apart
    handle = model.backbone.register_forward_hook(lambda *_: kept)
    target = model(INPUTS)[0]["instances"].scores[0]
    handle.remove()
    gradients = torch.autograd.grad(target, list(kept.values()))
    for number, (gradient, level) in enumerate(zip(gradients, kept.values(), strict=True)):
        expected = (gradient * level.detach())[0].sum(0)
        assert bool(expected.any())
        error = float((windows[number].view_as(expected) - expected).abs().max() / expected.abs().max())
        assert error < 3e-6


def test_where_the_graph_is_cut():
    model = of_class(WithoutGrad)
    before = state_of(model)
    cut = r"boxes of WithoutGrad must have a graph.*is cut in 'roi_heads.box_pooler.*drise"
    with pytest.raises(ValueError, match=cut):
        build_explainer(model)(INPUTS)
    assert_unchanged(before, state_of(model))
    with pytest.raises(ValueError, match="boxes of Detached must have a graph.*is cut in `forward` of Detached"):
        build_explainer(of_class(Detached))(INPUTS)


def test_drise_needs_no_graph():
    explainer = build_explainer(of_class(WithoutGrad), "drise", num_masks=4, progress=False)
    assert [len(result["instances"].heatmaps) for result in explainer(INPUTS[:1])] == [2]


def test_a_root_at_zero_leaves_its_map_zero_and_is_named():
    explainer = build_explainer(of_class(Rooted), attributes=("score", "x2"))
    with pytest.warns(UserWarning, match="map of 'score' of box 1 of the batch is left zero"):
        maps = explainer(INPUTS[:1])[0]["instances"].heatmaps
    score, side = (maps.to_image(name, normalize=False) for name in ("score", "x2"))
    assert bool(score[0].any()) and not bool(score[1].any())
    assert bool(torch.isfinite(score).all()) and bool(side.any())


def test_given_boxes_are_explained_through_the_detections():
    model = of_class(Stretched)
    found = build_explainer(model, attributes=("score",))(INPUTS[:1])[0]["instances"]
    box, label = found.pred_boxes.tensor[1:].tolist(), found.pred_classes[1:].tolist()
    again = build_explainer(model, attributes=("score",))(INPUTS[:1], [given((256, 320), box, label)])[0]["instances"]
    assert again.prediction_index.tolist() == [1]
    assert torch.equal(again.scores, found.scores[1:])
    assert torch.allclose(again.heatmaps.to_image("score"), found.heatmaps.to_image("score")[1:], atol=1e-5)


def test_named_layers():
    model = of_class(Stretched)
    layers = {"backbone.fpn_output3": 8, "backbone.fpn_output4": 16}
    maps = build_explainer(GraphDetector(model, layers), attributes=("score",))(INPUTS[:1])[0]["instances"].heatmaps
    assert sorted(maps.strides[:, 0].tolist()) == [8.0, 8.0, 16.0, 16.0]
    with pytest.raises(ValueError, match="`layer`.*'backbone.nothing'"):
        GraphDetector(model, {"backbone.nothing": 8})
    with pytest.raises(ValueError, match="stride of layer 'backbone' must be"):
        GraphDetector(model, {"backbone": 0})


def test_a_named_layer_lies_in_the_frame_of_the_image():
    """Not in that of what goes into the layer, which is a map itself; no other layer's name begins with its own."""

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix, self.mixer = nn.AvgPool2d(16), nn.Identity()

        def forward(self, batched_inputs):
            cells = self.mixer(self.mix(torch.stack([x["image"] for x in batched_inputs])))[:, 0]
            box = torch.tensor([[0.0, 0.0, 96.0, 64.0]])
            return [Instances((64, 96), scores=one[1, 2:3], pred_boxes=Boxes(box)) for one in cells]

    image = torch.zeros(3, 64, 96)
    image[:, 16:32, 32:48] = 0.5
    model = GraphDetector(Mixed().eval(), {"mix": 8, "mixer": 16})
    found = build_explainer(model, attributes=("score",))([{"image": image}])[0]["instances"]
    maps = found.heatmaps
    assert maps.image_size == (64, 96) and maps.strides.tolist() == [[16.0, 16.0]]
    expected = torch.zeros(4, 6)
    expected[1, 2] = 0.5  # the gradient of a score that is its cell times the cell
    assert torch.allclose(maps.to_image("score", normalize=False, size=(4, 6))[0], expected, atol=1e-6)


def test_no_detector():
    with pytest.raises(TypeError, match="`model` must have a `backbone`.*got Linear"):
        GraphDetector(nn.Linear(1, 1))
    with pytest.raises(TypeError, match="must be a detector; got Linear"):
        build_explainer(nn.Linear(1, 1))


def test_a_copy_of_the_view_is_asked_about_masked_images(stock):
    explainer = build_explainer(stock, "drise", num_masks=4, progress=False, amp=True)
    assert [len(result["instances"].heatmaps) for result in explainer(INPUTS[:1])] == [2]


def test_what_else_a_detector_gives_stays_in_the_results(caplog):
    caplog.set_level(logging.INFO)
    torch.manual_seed(0)
    model = build_model(zoo_config("COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml", *SMALL, *R18, traced=False))
    calibrate_frozen_norms(model.eval(), [random_input(128, 160)])
    found = build_explainer(model, attributes=("score",))(INPUTS)
    plain = build_explainer(model, attributes=("score",), engine="autograd")(INPUTS)
    with torch.no_grad():
        stock = model(INPUTS)
    for one, other, result in zip(found, plain, stock, strict=True):
        assert set(one) == set(result) == {"instances", "sem_seg", "panoptic_seg"}
        assert torch.equal(one["sem_seg"], result["sem_seg"])
        assert torch.equal(one["panoptic_seg"][0], result["panoptic_seg"][0])
        assert one["panoptic_seg"][1] == result["panoptic_seg"][1]
        for name, value in result["instances"].get_fields().items():
            mine = one["instances"].get(name)
            assert torch.equal(getattr(mine, "tensor", mine), getattr(value, "tensor", value)), name
        maps = (each["instances"].heatmaps.to_image("score", normalize=False) for each in (one, other))
        assert relative_error(*maps) < 3e-6
    assert "explaining PanopticFPN with the RoI engine" in told_by(caplog)[0]


class Doubled(GeneralizedRCNN):
    """A backbone that gives the images twice over, as branches do, of which the second is used as well."""

    def forward(self, batched_inputs):
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        count = len(batched_inputs)
        averaged = {k: 0.25 * level[:count] + 0.75 * level[count:] for k, level in features.items()}
        proposals, _ = self.proposal_generator(images, averaged, None)
        results, _ = self.roi_heads(images, averaged, proposals, None)
        return GeneralizedRCNN._postprocess(results, batched_inputs, images.image_sizes)


class Twice(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.size_divisibility, self.padding_constraints = inner.size_divisibility, inner.padding_constraints

    def forward(self, x):
        return {name: torch.cat([level, level]) for name, level in self.inner(x).items()}

    def output_shape(self):
        return self.inner.output_shape()


def test_branches_of_a_backbone_are_added(smooth_relus):
    model = of_class(GeneralizedRCNN)
    alone = build_explainer(GraphDetector(model), attributes=("score",))(INPUTS)
    model.backbone, model.__class__ = Twice(model.backbone), Doubled
    both = build_explainer(GraphDetector(model), attributes=("score",))(INPUTS)
    for one, other in zip(both, alone, strict=True):
        one, other = one["instances"], other["instances"]
        assert len(one.heatmaps.windows) == 2 * len(other.heatmaps.windows)
        # A quarter and three quarters of the same map; the ReLU waits for their sum in the frame of the image.
        parts = one.heatmaps.values[0].split(one.heatmaps.windows[:, 2:].prod(1).tolist())
        alone_parts = other.heatmaps.values[0].split(other.heatmaps.windows[:, 2:].prod(1).tolist())
        for number, expected in enumerate(alone_parts):
            total = (parts[2 * number] + parts[2 * number + 1]).clamp(min=0)
            assert float((total - expected).abs().max()) < 3e-6 * float(expected.max())
            assert float((3 * parts[2 * number] - parts[2 * number + 1]).abs().max()) < 1e-5 * float(expected.max())


@pytest.mark.filterwarnings("error:explaining by plain autograd")
def test_point_rend_has_the_fast_engine_for_boxes():
    cfg = zoo_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml", *SMALL, *R18, traced=False)
    add_pointrend_config(cfg)
    options = {
        "ROI_MASK_HEAD.NAME": "PointRendMaskHead", "ROI_MASK_HEAD.POOLER_TYPE": "", "ROI_MASK_HEAD.FC_DIM": 32,
        "ROI_MASK_HEAD.OUTPUT_SIDE_RESOLUTION": 7, "ROI_MASK_HEAD.POINT_HEAD_ON": True, "POINT_HEAD.NUM_CLASSES": 5,
        "POINT_HEAD.FC_DIM": 16, "POINT_HEAD.IN_FEATURES": ["p2"],
    }  # fmt: skip
    cfg.merge_from_list([part for key, value in options.items() for part in (f"MODEL.{key}", value)])
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    calibrate_frozen_norms(model, [random_input(128, 160)])
    fast, plain = (
        build_explainer(model, attributes=("score", "left"), engine=name)(INPUTS[:1])[0]["instances"]
        for name in ("auto", "autograd")
    )
    assert fast.has("pred_masks") and "mask" not in known_attributes(model)
    for name in ("score", "left"):
        assert relative_error(*(one.heatmaps.to_image(name, normalize=False) for one in (fast, plain))) < 3e-6
