"""FCOS in AdelaiDet's manner: a small stand-in with its interface."""

import logging
from types import SimpleNamespace

import pytest
import torch
from detectron2.structures import Boxes, pairwise_iou

from odam_d2.explain import build_explainer, known_attributes
from tests.explain.test_base import assert_unchanged, state_of
from tests.helpers import given, random_input, relative_error
from tests.stand_ins.fcos import Masked, OneStage, build

INPUTS = [random_input(128, 160, 256, 320), random_input(96, 128, seed=1)]
# Options of the stand-in, and why the fast engine has no part in it.
CASES = {
    "group_norm": ({}, None),
    "no_norm": ({"norm": "none", "thresh_with_ctr": True, "threshold": 0.2}, None),
    "exp_without_scales": ({"norm": "none", "scales": False, "exp": True}, None),
    "norm_of_each_level": ({"norm": "BN"}, "NormOfEachLevel is not known where it stands"),
    "shared_tower": ({"norm": "none", "share": 1}, "its branches share layers"),
    "centerness_on_classes": ({"norm": "none", "centerness_on": "cls_tower"}, "put together in another way"),
}


def told_by(caplog):
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("explaining")]


def free(found, side):
    limit = [0, 0, found.image_size[1], found.image_size[0]][side]
    return (found.pred_boxes.tensor[:, side] != limit).nonzero()[:, 0].tolist()


def by_hand(model, number, detection, attribute):
    """The map of a detection on its level: one gradient of what the detector reports."""
    leaves = {}

    def hook(_module, _inputs, output):
        leaves.update({name: one.detach().requires_grad_() for name, one in output.items()})
        return dict(leaves)

    handle = model.backbone.register_forward_hook(hook)
    found = model(INPUTS)[number]["instances"]
    handle.remove()
    size = INPUTS[number]["image"].shape[-2:]
    box = found.pred_boxes.tensor[detection] * torch.tensor([size[1] / found.image_size[1], 1.0, 1.0, 1.0])
    box = box * torch.tensor([1.0, 1, 1, size[0] / found.image_size[0]])
    target = {"score": found.scores[detection], "left": -box[0], "y2": box[3]}[attribute]
    leaf = leaves[["p2", "p3", "p4"][int(found.fpn_levels[detection])]]
    (gradient,) = torch.autograd.grad(target, leaf)
    return (gradient * leaf)[number].sum(0).clamp(min=0).detach()


@pytest.mark.parametrize("kind", [OneStage, Masked])
@pytest.mark.parametrize("name", CASES)
def test_maps_are_those_of_plain_autograd(name, kind, caplog, recwarn):
    options, slow = CASES[name]
    caplog.set_level(logging.INFO)
    model = build(kind, **options)
    before = state_of(model)
    explainer = build_explainer(model, attributes=("score", "left", "y2"), group_norm="exact")
    if slow:
        with pytest.warns(UserWarning, match=f"explaining by plain autograd.*{slow}"):
            results = explainer(INPUTS)
    else:
        results = explainer(INPUTS)
    assert_unchanged(before, state_of(model))
    assert told_by(caplog) == [
        f"explaining {kind.__name__} with {'autograd' if slow else 'the dense engine'}, through the locations of its "
        f"FCOS, since {kind.__name__} is none of Detectron2's"
    ]
    with torch.no_grad():
        stock = model(INPUTS)
    compared = 0
    for number, (result, expected) in enumerate(zip(results, stock, strict=True)):
        one, other = result["instances"], expected["instances"]
        assert len(one) == len(other)
        for field, value in other.get_fields().items():
            mine = one.get(field)
            assert torch.equal(getattr(mine, "tensor", mine), getattr(value, "tensor", value)), field
        for attribute, side in (("score", None), ("left", 0), ("y2", 3)):
            for detection in (list(range(len(one))) if side is None else free(one, side))[:2]:
                plain = by_hand(model, number, detection, attribute)
                found = torch.zeros_like(plain)
                top, left, height, width = one.heatmaps[detection].windows[0].tolist()
                found[top : top + height, left : left + width] = one.heatmaps.window(detection, attribute)
                assert float((found - plain).abs().max()) <= 3e-6 * float(plain.abs().max()), attribute
                compared += bool(plain.any())
    assert compared >= 4


def test_centerness_and_logit():
    model = build(norm="none")
    assert {"logit", "centerness"} <= set(known_attributes(model))
    fast, plain = (
        build_explainer(model, attributes=("logit", "centerness", "combined"), engine=name)(INPUTS)[0]["instances"]
        for name in ("dense", "autograd")
    )
    for name in ("logit", "centerness", "score", "top"):
        maps = [one.heatmaps.to_image(name, normalize=False) for one in (fast, plain)]
        assert bool(maps[1].any())
        assert relative_error(*maps) < 3e-6


def test_given_boxes_and_none():
    model = build(norm="none")
    boxes = [given((256, 320), [[20, 30, 180, 200]], [2]), given((96, 128), [], [])]
    first, second = (result["instances"] for result in build_explainer(model)(INPUTS, boxes))
    assert len(second.heatmaps) == 0
    # By hand: of all locations inside the box, the one whose predicted box overlaps it most.
    generator = model.proposal_generator
    generator.topk, generator.threshold = 10**6, -1.0
    pixels = [torch.zeros(2, 3, 128, 160), SimpleNamespace(image_sizes=[(128, 160), (96, 128)])]
    for x, canvas in zip(INPUTS, pixels[0], strict=True):
        canvas[:, : x["image"].shape[1], : x["image"].shape[2]] = (x["image"] - 127) / 60
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.stand_ins.fcos.batched_nms", lambda boxes, *_: torch.arange(len(boxes)))
        every = generator(pixels[1], model.backbone(pixels[0]))[0][0]
    box = torch.tensor([[10.0, 15, 90, 100]])
    inside = (every.locations > box[0, :2]).all(1) & (every.locations < box[0, 2:]).all(1) & (every.pred_classes == 2)
    best = (pairwise_iou(Boxes(box), every.pred_boxes)[0] * inside).argmax()
    assert float(first.scores) == pytest.approx(float(every.scores[best]), rel=1e-5)
    assert int(first.anchor_levels) == int(every.fpn_levels[best])
    centre = first.anchor_boxes.get_centers()[0] / 2
    assert centre.tolist() == every.locations[best].tolist()
    model.proposal_generator.threshold = 2.0
    assert [len(result["instances"].heatmaps) for result in build_explainer(model)(INPUTS)] == [0, 0]
    model.proposal_generator.threshold, model.proposal_generator.topk = 0.45, 1
    assert [len(result["instances"].heatmaps) for result in build_explainer(model)(INPUTS)] == [1, 1]


def test_a_named_layer_and_drise():
    model = build(norm="none")
    found = build_explainer(model, attributes=("score",), layer="backbone.stem")(INPUTS[:1])[0]["instances"]
    assert found.heatmaps.strides[0].tolist() == [4.0, 4.0] and bool(found.heatmaps.to_image("score").any())
    found = build_explainer(model, "drise", num_masks=4, progress=False)(INPUTS[:1])[0]["instances"]
    assert len(found.heatmaps) == 5


class Rescored(OneStage):
    """Scores that other parts change."""

    def forward(self, batched_inputs):
        results = super().forward(batched_inputs)
        for one in results:
            one["instances"].scores = one["instances"].scores * 0.9
        return results


def test_other_scores_are_explained_by_the_graph(caplog):
    caplog.set_level(logging.INFO)
    model = build(Rescored, norm="none")
    found = build_explainer(model, attributes=("score",))(INPUTS)[0]["instances"]
    (told,) = told_by(caplog)
    assert "by autograd on maps p2, p3, p4, since detection 0 with score" in told
    plain = by_hand(model, 0, 0, "score")
    values = found.heatmaps[0].values[0]
    assert float((values - plain.flatten()).abs().max()) < 3e-6 * float(plain.max())
