"""RoI heads of other projects: the score that is reported is the one that is explained."""

import logging
from functools import partial

import pytest
import torch
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.roi_heads import StandardROIHeads
from detectron2.structures import Boxes

from odam_d2.explain import build_explainer
from odam_d2.meta_arch import GraphDetector
from odam_d2.modeling.score_rules import SCORE_RULES
from tests.explain.test_base import assert_unchanged, state_of
from tests.helpers import assert_fast_is_plain_and_stock, given, random_input
from tests.stand_ins.heads import Branches, Decoupled, MaskScoring, Teacher, clip, detic, few_shot, of_classes

INPUTS = [random_input(128, 160, 256, 320), random_input(96, 128, seed=1)]


def told_by(caplog):
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("explaining")]


@pytest.mark.filterwarnings("error:explaining by plain autograd")
@pytest.mark.parametrize(
    "build", [detic, lambda: detic(one_class_per_proposal=True), clip, partial(of_classes, Teacher, Branches)]
)
def test_the_fast_engine_explains_what_is_reported(build, caplog):
    caplog.set_level(logging.INFO)
    model = build()
    before = state_of(model)
    attributes = ("score", "logit", "left", "y2")
    fast, plain = (build_explainer(model, attributes=attributes, engine=name)(INPUTS) for name in ("roi", "autograd"))
    assert_unchanged(before, state_of(model))
    (told,) = told_by(caplog)
    assert "with the RoI engine, which finds its detections again, since" in told
    with torch.no_grad():
        stock = model(INPUTS)
    assert_fast_is_plain_and_stock(fast, plain, stock, attributes)


def test_the_graph_says_the_same_of_the_stages(smooth_relus):
    # The proposals' scores are constants in the fast engine; here they are made so for the graph.
    model = detic()
    own = model.proposal_generator.forward
    model.proposal_generator.forward = lambda *args: ([without_graph(one) for one in own(*args)[0]], {})
    fast = build_explainer(model, attributes=("score",))(INPUTS[:1])[0]["instances"]
    graph = build_explainer(GraphDetector(model), attributes=("score",))(INPUTS[:1])[0]["instances"]
    assert torch.equal(fast.scores, graph.scores) and len(fast) == 2
    for number in range(2):
        grids = [grids_of(maps[number]) for maps in (fast.heatmaps, graph.heatmaps)]
        largest = max(float(one.abs().max()) for one in grids[1].values())
        for stride in {*grids[0], *grids[1]}:
            found, expected = (grid.get(stride, torch.zeros(64, 64)) for grid in grids)
            # Where there are several windows, the ReLU waits for their sum; the engine has one a stage.
            if len(grids[1]) == 1:
                found, expected = found.clamp(min=0), expected.clamp(min=0)
            assert float((found - expected).abs().max()) < 3e-6 * largest


def grids_of(maps):
    """What lies on each level, its windows added: stride -> (64, 64)."""
    grids = {}
    values = maps.values[0].split(maps.windows[:, 2:].prod(1).tolist())
    for stride, window, value in zip(maps.strides[:, 0].tolist(), maps.windows.tolist(), values, strict=True):
        top, left, height, width = window
        whole = grids.setdefault(stride, torch.zeros(64, 64))
        whole[top : top + height, left : left + width] += value.view(height, width)
    return grids


def without_graph(proposals):
    for name, value in proposals.get_fields().items():
        proposals.set(name, Boxes(value.tensor.detach()) if isinstance(value, Boxes) else value.detach())
    return proposals


def test_a_given_box_takes_the_place_of_the_proposal_that_fits_best():
    model = detic()
    seen = {}
    handle = model.roi_heads.register_forward_pre_hook(
        lambda _heads, inputs, _named: seen.setdefault("first", inputs) and None, with_kwargs=True
    )
    box = [20.0, 30, 180, 200]
    inputs = [given((256, 320), [box], [1]), given((96, 128), [], [])]
    found = build_explainer(model, attributes=("score",))(INPUTS, inputs)[0]["instances"]
    handle.remove()
    _, features, proposals = seen["first"][:3]
    assert float(found.scores) > 0 and bool(found.heatmaps.to_image("score").any())
    # By hand: the stages on the box itself, and the score of the nearest proposal.
    heads = model.roi_heads
    now = torch.tensor([box]) / 2
    overlap = torch.stack([_generalised_iou(now[0], other) for other in proposals[0].proposal_boxes.tensor])
    factor = proposals[0].scores[overlap.argmax()]
    scores = []
    with torch.no_grad():
        for head, predictor in zip(heads.box_head, heads.box_predictor, strict=True):
            pooled = heads.box_pooler([features[k] for k in heads.box_in_features], [Boxes(now), Boxes(now[:0])])
            logits, deltas, _ = predictor(head(pooled))
            scores.append(logits.sigmoid()[0, 1])
            now = predictor.box2box_transform.apply_deltas(deltas[:1], now)
            now = torch.stack([now[:, 0].clamp(0, 160), now[:, 1].clamp(0, 128), now[:, 2].clamp(0, 160),
                               now[:, 3].clamp(0, 128)], 1)  # fmt: skip
    assert float(found.scores) == pytest.approx(float((sum(scores) / 3 * factor).sqrt()), rel=1e-4)


def _generalised_iou(one, other):
    """IoU less the share of the smallest box around both that neither fills."""
    corner = torch.minimum(one[2:], other[2:]) - torch.maximum(one[:2], other[:2])
    inner = corner.clamp(min=0).prod()
    union = (one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - inner
    hull = (torch.maximum(one[2:], other[2:]) - torch.minimum(one[:2], other[:2])).prod()
    return inner / union - (hull - union) / hull


def test_a_proposal_of_score_zero_leaves_no_nan():
    model = detic()
    for predictor in model.roi_heads.box_predictor:
        predictor.cls_score.zs_weight[:, 0] = 0
        predictor.cls_score.linear.bias.data.mul_(0)
        predictor.cls_score.forward = lambda x, classifier=None: torch.cat(
            [x[:, :1] - 1e4, x[:, 1:6]], 1
        )  # the sigmoid of class 0 is zero
    found = build_explainer(model, attributes=("score",))(INPUTS, [given((256, 320), [[20, 30, 180, 200]], [0]),
                                                                   given((96, 128), [], [])])  # fmt: skip
    maps = found[0]["instances"].heatmaps.to_image("score", normalize=False)
    assert bool(torch.isfinite(maps).all()) and not bool(maps.any())
    detected = build_explainer(model, attributes=("score",))(INPUTS[:1])[0]["instances"]
    assert bool(torch.isfinite(detected.heatmaps.to_image("score", normalize=False)).all())


def test_a_rule_of_ones_own():
    model = of_classes(GeneralizedRCNN, Squared)
    graph = build_explainer(model, attributes=("score",))(INPUTS[:1])[0]["instances"]

    @SCORE_RULES.register_as("squared")
    class SquaredScore:
        @staticmethod
        def applies(roi_heads, proposals):
            return isinstance(roi_heads, Squared)

        @staticmethod
        def scores(mean, proposals):
            return mean**2

    try:
        model = of_classes(GeneralizedRCNN, Squared)
        explainer = build_explainer(model, attributes=("score",), engine="roi")
        assert torch.equal(explainer(INPUTS[:1])[0]["instances"].scores, graph.scores)
    finally:
        del SCORE_RULES._obj_map["squared"]


class Squared(StandardROIHeads):
    """Reports the square of what Detectron2 reports."""

    def forward(self, *args):
        found, losses = super().forward(*args)
        for one in found:
            one.scores = one.scores**2
        return found, losses


def test_an_attention_pool_that_sees_other_rois_is_found_out():
    with pytest.warns(UserWarning, match="explaining by plain autograd.*does not treat each RoI on its own"):
        build_explainer(clip(mixing=True), attributes=("score",))(INPUTS[:1])


@pytest.mark.parametrize(
    "build, why",
    [
        (partial(of_classes, GeneralizedRCNN, MaskScoring), "since detection 0 with score"),
        (partial(of_classes, Decoupled), "since the RoI heads pool from other maps than the backbone's"),
        (few_shot, "since FewShot is none of Detectron2's"),
    ],
)
def test_what_is_known_in_no_other_way_is_explained_by_the_graph(build, why, caplog):
    caplog.set_level(logging.INFO)
    # Frozen batch norms of Detectron2 round otherwise when gradients pass through them, as in the pass by hand.
    model = build().requires_grad_(False)
    found = build_explainer(model, attributes=("score",))(INPUTS)
    with torch.no_grad():
        stock = model(INPUTS)
    (told,) = told_by(caplog)
    assert "by autograd on maps p2, p3, p4, p5" in told and why in told
    for one, result in zip(found, stock, strict=True):
        assert torch.equal(one["instances"].scores, result["instances"].scores)
    # By hand, of the first detection.
    leaves = {}

    def hook(_module, _inputs, output):
        leaves.update({name: one.detach().requires_grad_() for name, one in output.items()})
        return dict(leaves)

    handle = model.backbone.register_forward_hook(hook)
    target = model(INPUTS)[0]["instances"].scores[0]
    handle.remove()
    gradients = torch.autograd.grad(target, list(leaves.values()), materialize_grads=True)
    strides = [4.0, 8.0, 16.0, 32.0, 64.0]
    expected = {s: (g * a)[0].sum(0).detach() for s, g, a in zip(strides, gradients, leaves.values(), strict=True)}
    mine = found[0]["instances"].heatmaps[0]
    values = mine.values[0].split(mine.windows[:, 2:].prod(1).tolist())
    for stride, value in zip(mine.strides[:, 0].tolist(), values, strict=True):
        part = expected[stride].flatten()
        part = part.clamp(min=0) if len(values) == 1 else part
        assert float((value - part).abs().max()) < 3e-6 * float(part.abs().max())
