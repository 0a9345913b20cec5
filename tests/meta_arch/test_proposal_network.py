"""OdamProposalNetwork and OdamRPN: the stock proposals, bit for bit, and where each of them came from."""

import pytest
import torch
from detectron2.modeling import ProposalNetwork, build_model
from detectron2.modeling.proposal_generator import RPN
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import nn

from odam_d2.explain import build_explainer
from odam_d2.meta_arch import OdamProposalNetwork
from odam_d2.modeling import OdamRPN
from tests.helpers import ROUNDING, given, random_detector, random_input, relative_error, zoo_config

ZOO = "COCO-Detection/rpn_R_50_FPN_1x.yaml"
SMALL = ("MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64, "MODEL.FPN.OUT_CHANNELS", 32)
FEW = ("MODEL.RPN.PRE_NMS_TOPK_TEST", 40, "MODEL.RPN.POST_NMS_TOPK_TEST", 8)
INPUTS = [random_input(224, 320, 448, 640), random_input(256, 192, seed=1)]
SIDES = ("left", "top", "right", "bottom")
# One for every size of anchor, and over every border of the 448 x 640 image.
GIVEN = given(
    (448, 640),
    [
        [100, 100, 164, 164], [200, 100, 330, 240], [150, 60, 420, 330], [20, 0, 560, 440], [-10, 30, 60, 100],
        [590, 200, 650, 270], [300, -20, 370, 40], [320, 400, 400, 460], [300, 300, 356, 356],
    ],
    list(range(9)),
)  # fmt: skip


def lively(model):
    """Sets the head's weights so that about half of its cells are let through."""
    for module in model.proposal_generator.rpn_head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.08 if module.kernel_size[0] == 3 else 0.3)
            nn.init.normal_(module.bias, std=0.1)
    return model


@pytest.fixture(scope="module")
def network():
    return lively(random_detector(zoo_config(ZOO, *SMALL, *FEW)))


def assert_same(found, wanted):
    assert torch.equal(found.proposal_boxes.tensor, wanted.proposal_boxes.tensor)
    assert torch.equal(found.objectness_logits, wanted.objectness_logits)
    assert found.image_size == wanted.image_size


@pytest.mark.parametrize("options", [(), ("MODEL.PROPOSAL_GENERATOR.MIN_SIZE", 40), ("MODEL.RPN.NMS_THRESH", 0.2)])
def test_proposals_are_the_stock_networks_bit_for_bit(network, options):
    stock = build_model(zoo_config(ZOO, *SMALL, *FEW, *options, traced=False)).eval()
    ours = build_model(zoo_config(ZOO, *SMALL, *FEW, *options)).eval()
    assert type(stock) is ProposalNetwork and type(stock.proposal_generator) is RPN
    assert type(ours) is OdamProposalNetwork and type(ours.proposal_generator) is OdamRPN
    for model in (stock, ours):
        model.load_state_dict(network.state_dict())
    with torch.no_grad():
        expected, plain = stock(INPUTS), ours(INPUTS)
    traced = ours.trace(INPUTS).instances
    for wanted, found, other in zip(expected, plain, traced, strict=True):
        assert len(wanted["proposals"]) > 1
        assert set(found["proposals"].get_fields()) == {"proposal_boxes", "objectness_logits"}
        assert_same(found["proposals"], wanted["proposals"])
        assert_same(other, wanted["proposals"])
        assert torch.equal(other.pred_boxes.tensor, other.proposal_boxes.tensor)
        assert torch.equal(other.scores, other.objectness_logits.sigmoid()) and not other.pred_classes.any()


def test_proposals_that_are_not_finite_do_not_shift_the_others(network):
    """The stock code drops them before it chooses; anchors of those that stay must still be theirs."""
    rpn = network.proposal_generator
    images = network.preprocess_image(INPUTS[:1])
    with torch.no_grad():
        features = network.backbone(images.tensor)
        levels = [features[name] for name in rpn.in_features]
        anchors, (logits, deltas) = rpn.anchor_generator(levels), rpn.rpn_head(levels)
        # The best anchor of every level, and a box that decodes to infinity.
        for level in logits:
            level.view(-1)[level.argmax()] = float("inf")
        deltas[0][0, :4, :5] = float("nan")
        found = rpn.propose(anchors, [logits, deltas], images.image_sizes)[0]
        flat = [level.permute(0, 2, 3, 1).flatten(1) for level in logits]
        boxes = [d.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3) for d in deltas]
        expected = rpn.predict_proposals(anchors, flat, boxes, images.image_sizes)[0]
    assert_same(found, expected)
    for k in range(len(found)):
        level, row = int(found.odam_level[k]), int(found.odam_row[k])
        assert flat[level][0, row] == found.objectness_logits[k]


def test_predictions_said_again_are_those_of_the_proposals(network):
    trace = network.trace(INPUTS)
    with torch.no_grad():
        said = trace.head.predict(trace.features, trace)
        from_maps = trace.head.decode(trace.head.gather(trace.head.maps, trace), trace)
    logits = torch.cat([i.objectness_logits for i in trace.instances])
    sizes = torch.tensor(trace.image_sizes)[trace.image_index].flip(1).repeat(1, 2)
    for predictions in (said, from_maps):
        assert torch.allclose(predictions.logits, logits, atol=1e-5)
        assert torch.equal(predictions.extras["objectness"], predictions.scores)
        assert torch.allclose(torch.minimum(predictions.boxes.clamp(min=0), sizes), trace.boxes, atol=1e-2)


def compare(model, inputs, instances, attributes, **settings):
    """Relative errors of the dense engine's maps against one autograd call a map."""
    fast, plain = (
        build_explainer(model, attributes=attributes, engine=engine, **settings)(inputs, instances)
        for engine in ("dense", "autograd")
    )
    found = []
    for one, other in zip(fast, plain, strict=True):
        one, other = one["instances"].heatmaps, other["instances"].heatmaps
        assert len(one) == len(other)
        if len(one):
            found += [relative_error(one.to_image(a, False), other.to_image(a, False)) for a in attributes]
    return found


@pytest.mark.parametrize("conv_dims", [[-1], [24, -1]])
def test_maps_are_autograds_on_every_level_and_border(conv_dims):
    model = lively(random_detector(zoo_config(ZOO, *SMALL, *FEW, "MODEL.RPN.CONV_DIMS", conv_dims)))
    inputs, attributes = [random_input(448, 640)], ("objectness", "logit", *SIDES)
    assert len(set(model.trace(inputs, [GIVEN]).level_index[:, 0].tolist())) >= 4
    assert max(compare(model, inputs, [GIVEN], attributes)) < 1e-4


def test_maps_of_a_batch_of_proposals(network):
    attributes = ("score", "objectness", "x1", "bottom")
    found = compare(network, INPUTS, None, attributes)
    assert len(found) == 2 * len(attributes) and max(found) < 1e-4
    assert max(compare(network, INPUTS[:1], None, ("objectness", "left"), smoothing=0.1)) < 1e-4


def test_score_and_objectness_are_the_same(network):
    maps = build_explainer(network, attributes=("score", "objectness"))(INPUTS[:1])[0]["instances"].heatmaps
    # Two rows of one matrix product.
    assert relative_error(maps.values[:1], maps.values[1:]) < 1e-5 and bool(maps.values.any())


def test_given_boxes_are_explained_through_the_best_anchor_whatever_their_class(network):
    boxes = [[100, 100, 164, 164], [150, 60, 420, 330]]
    truth = Instances((448, 640), gt_boxes=Boxes(torch.tensor(boxes).float()), gt_classes=torch.tensor([77, 3]))
    trace = network.trace(INPUTS, [truth, given((256, 192), [], [])])
    assert trace.classes.tolist() == [0, 0] and [len(i) for i in trace.instances] == [2, 0]
    rpn = network.proposal_generator
    anchors = rpn.anchor_generator([trace.features[name] for name in trace.level_names])
    best = pairwise_iou(Boxes(trace.boxes), Boxes.cat(anchors)).amax(1)
    chosen = pairwise_iou(Boxes(trace.boxes), Boxes(trace.references)).diag()
    assert torch.allclose(chosen, best, rtol=ROUNDING, atol=0.0)
    found = trace.instances[0]
    assert torch.allclose(found.anchor_boxes.tensor / 2, trace.references)  # 448 x 640 enters at half its size
    assert found.anchor_levels.tolist() == trace.level_index[:, 0].tolist()


def test_a_box_that_no_anchor_fits_is_named(network, monkeypatch):
    monkeypatch.setattr(network.proposal_generator.anchor_matcher, "allow_low_quality_matches", False)
    with pytest.raises(ValueError, match=r"box 1 of `instances\[0\]` must fit an anchor"):
        network.trace(INPUTS[:1], [given((448, 640), [[100, 100, 164, 164], [10, 200, 11, 204]], [0, 0])])


def test_boxes_without_a_field_are_named(network):
    with pytest.raises(ValueError, match="pred_boxes"):
        network.trace(INPUTS[:1], [Instances((448, 640))])


def test_no_proposal_and_no_given_box(network, monkeypatch):
    monkeypatch.setattr(network.proposal_generator, "min_box_size", 1e6)
    explainer = build_explainer(network, attributes=("objectness", "left"))
    for instances in (None, [given((448, 640), [], []), given((256, 192), [], [])]):
        results = explainer(INPUTS, instances)
        assert [len(r["instances"].heatmaps) for r in results] == [0, 0]


@pytest.mark.parametrize("traced", [True, False])
def test_the_proposals_of_a_detector_that_one_has(traced):
    cfg = zoo_config("COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml", *SMALL, *FEW, traced=traced)
    rcnn = lively(random_detector(cfg))
    network = OdamProposalNetwork.of(rcnn)
    assert network.backbone is rcnn.backbone
    assert network.proposal_generator.rpn_head is rcnn.proposal_generator.rpn_head
    assert type(rcnn.proposal_generator) is (OdamRPN if traced else RPN)
    images = rcnn.preprocess_image(INPUTS)
    assert torch.equal(network.preprocess_image(INPUTS).tensor, images.tensor)
    with torch.no_grad():
        expected, _ = rcnn.proposal_generator(images, rcnn.backbone(images.tensor))
    found = network.trace(INPUTS).instances
    assert torch.equal(found[1].proposal_boxes.tensor, expected[1].proposal_boxes.tensor)
    assert max(compare(network, INPUTS[:1], None, ("objectness",))) < 1e-4


class FirstOnly(OdamRPN):
    """Proposes one box an image."""

    def predict_proposals(self, *args):
        return [found[:1] for found in super().predict_proposals(*args)]


class Mine(RPN):
    """A network of somebody's own."""


def test_a_generator_of_ones_own_is_named(network):
    generator = network.proposal_generator
    stock, generator.__class__ = type(generator), FirstOnly
    try:
        with pytest.raises(TypeError, match="FirstOnly, which overrides"):
            build_explainer(network)
    finally:
        generator.__class__ = stock


def test_a_generator_that_proposes_as_the_stock_one_is_seen_as_ours(network):
    generator = network.proposal_generator
    expected = build_explainer(network, attributes=("score",))(INPUTS)
    stock, generator.__class__ = type(generator), Mine
    try:
        with pytest.raises(TypeError, match="got Mine: set MODEL"):
            network.trace(INPUTS)
        with pytest.raises(TypeError, match="Mine: derive it from OdamRPN"):
            OdamProposalNetwork.of(network)
        found = build_explainer(network, attributes=("score",))(INPUTS)
        assert type(generator) is Mine
    finally:
        generator.__class__ = stock
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one["instances"].heatmaps.values, other["instances"].heatmaps.values)
        assert set(one) == set(other) == {"instances", "proposals"}
        assert torch.equal(one["proposals"].objectness_logits, other["proposals"].objectness_logits)


def test_a_head_of_ones_own_hands_over_with_one_warning(network):
    head = network.proposal_generator.rpn_head
    stock = type(head)
    head.__class__ = type("Head", (stock,), {})
    try:
        with pytest.warns(UserWarning, match="Head is not StandardRPNHead"):
            found = build_explainer(network, attributes=("objectness",))(INPUTS[:1])[0]["instances"].heatmaps
    finally:
        head.__class__ = stock
    assert len(found) and bool(found.values.any())


def test_candidates_are_all_anchors(network):
    with torch.no_grad():
        candidates, found = network.candidates(INPUTS), network(INPUTS)
    for (boxes, scores), result, entry in zip(candidates, found, INPUTS, strict=True):
        proposals = result["proposals"]
        assert boxes.shape == (len(scores), 4) and scores.shape[1] == 1
        for box, logit in zip(proposals.proposal_boxes.tensor, proposals.objectness_logits, strict=True):
            rows = ((scores[:, 0] - logit.sigmoid()).abs() < 1e-6).nonzero()[:, 0]
            height, width = proposals.image_size
            clipped = (
                (boxes[rows] * (entry["width"] / entry["image"].shape[2]))
                .clamp(min=0)
                .minimum(torch.tensor([width, height] * 2))
            )
            assert bool((clipped - box).abs().amax(1).lt(1e-3).any())
