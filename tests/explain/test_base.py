"""What every explainer promises: the model as it was, any caller, and nothing drawn from NaN."""

import pytest
import torch

from odam_d2 import model_zoo
from odam_d2.explain import build_explainer
from tests.helpers import given, random_input, relative_error

INPUTS = [random_input(128, 160, 256, 320), random_input(96, 128, seed=1)]
SETTINGS = [{"engine": "roi"}, {"engine": "autograd"}, {"layer": "backbone.bottom_up.res4"}]


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = model_zoo.get("synthetic/faster_rcnn_compact_FPN", trained=False, device="cpu")
    model.roi_heads.box_predictor.test_score_thresh = 0.0
    model.roi_heads.box_predictor.test_topk_per_image = 3
    return model


def state_of(model):
    """Everything of a model that an explanation could have touched."""
    return {
        "modes": [m.training for m in model.modules()],
        "hooks": [
            len(hooks)
            for m in model.modules()
            for hooks in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks, m._backward_pre_hooks)
        ],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "grad": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "weights": [v.clone() for v in model.state_dict().values()],
    }


def assert_unchanged(before, after):
    assert before["modes"] == after["modes"] and before["hooks"] == after["hooks"]
    assert before["requires_grad"] == after["requires_grad"]
    for name in ("grad", "weights"):
        for old, new in zip(before[name], after[name], strict=True):
            assert (old is None and new is None) or torch.equal(old, new)


def unusual(model):
    """Modes, gradients and frozen parameters that are no default, so that restoring a default would show."""
    model.train()
    model.backbone.bottom_up.res2.eval()
    for index, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(index % 3 != 0)
        if index % 3 == 1:
            parameter.grad = torch.full_like(parameter, 0.5)
    return model


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_model_is_as_it_was(model, settings):
    explainer = build_explainer(unusual(model), attributes=("score", "left"), **settings)
    before = state_of(model)
    found = explainer(INPUTS)
    assert len(found[0]["instances"]) == 3
    assert_unchanged(before, state_of(model))


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("failing", ["roi_heads.box_head.fc2", "backbone.bottom_up.res5"])
def test_the_model_is_as_it_was_after_an_error(model, settings, failing):
    explainer = build_explainer(unusual(model), attributes=("score", "left"), **settings)

    def fail(*_):
        raise RuntimeError("told to fail")

    handle = model.get_submodule(failing).register_forward_hook(fail)
    before = state_of(model)
    with pytest.raises(RuntimeError, match="told to fail"):
        explainer(INPUTS)
    assert_unchanged(before, state_of(model))
    handle.remove()


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("caller", [torch.no_grad, torch.inference_mode])
def test_works_for_callers_without_gradients(model, settings, caller):
    explainer = build_explainer(model, attributes=("score", "left"), **settings)
    expected = explainer(INPUTS)
    with caller():
        found = explainer([{**x, "image": x["image"].clone()} for x in INPUTS])
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one["instances"].heatmaps.values, other["instances"].heatmaps.values)


def test_a_frozen_model_can_be_explained(model):
    free = build_explainer(model)(INPUTS)[0]["instances"].heatmaps
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    frozen = build_explainer(model)(INPUTS)[0]["instances"].heatmaps
    assert torch.equal(free.values, frozen.values)


def test_images_of_a_batch_do_not_touch_each_other(model, smooth_relus):
    explainer = build_explainer(model)
    # Batch norm in eval mode and padding below and to the right: one image alone has the same features, if the
    # padded size is the same.
    both = explainer([INPUTS[0], random_input(128, 160, seed=2)])[0]["instances"]
    alone = explainer([INPUTS[0]])[0]["instances"]
    # No place hangs on rounding; maps are compared as those of two engines are.
    assert float((alone.scores[:-1] - alone.scores[1:]).min()) > 1e-4
    for name in ("score", "left", "bottom"):
        assert relative_error(both.heatmaps.to_image(name, False), alone.heatmaps.to_image(name, False)) < 1e-4


def test_results_are_in_the_original_frame(model):
    found = build_explainer(model)(INPUTS)
    for result, entry in zip(found, INPUTS, strict=True):
        instances = result["instances"]
        assert instances.image_size == (entry["height"], entry["width"]) == instances.heatmaps.output_size
        assert instances.heatmaps.image_size == tuple(entry["image"].shape[1:])
        assert instances.heatmaps.to_image("score").shape == (3, entry["height"], entry["width"])


def test_nan_in_weights_is_said(model):
    with torch.no_grad():
        model.backbone.fpn_lateral3.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(
        FloatingPointError, match=r"level 'p2'.*'backbone.fpn_lateral3.weight' in the model.*MODEL.WEIGHTS"
    ):
        build_explainer(model)(INPUTS, [given((256, 320), [[0, 0, 99, 99]], [0]), given((96, 128), [], [])])


def test_inf_in_features_is_said(model):
    handle = model.backbone.fpn_output4.register_forward_hook(
        lambda m, i, o: o.masked_fill(o == o[1].max(), float("inf"))
    )
    expected = r"level .p4. must be finite; image 1 .*all of the model's weights are finite"
    with pytest.raises(FloatingPointError, match=expected):
        build_explainer(model)(INPUTS, [given((256, 320), [[0, 0, 99, 99]], [0]), given((96, 128), [], [])])
    handle.remove()


@pytest.mark.parametrize(
    "name",
    [
        "roi_heads.box_predictor.cls_score.weight",
        "roi_heads.box_predictor.bbox_pred.bias",
        "roi_heads.box_head.fc1.bias",
        "proposal_generator.rpn_head.conv.weight",
        "backbone.bottom_up.res5.0.conv1.norm.running_mean",
    ],
)
@pytest.mark.parametrize("boxes", [None, [[0, 0, 99, 99]]])
def test_nan_anywhere_is_not_a_image_without_objects(model, name, boxes):
    with torch.no_grad():
        model.state_dict()[name].view(-1)[0] = float("nan")
    chosen = None if boxes is None else [given((256, 320), boxes, [0])]
    with pytest.raises(FloatingPointError, match=name):
        build_explainer(model)(INPUTS[:1], chosen)


def test_nothing_found_by_sound_weights_is_no_error(model):
    model.roi_heads.box_predictor.test_score_thresh = 2.0
    found = build_explainer(model)(INPUTS)
    assert [len(r["instances"].heatmaps) for r in found] == [0, 0]


def test_no_images_give_no_results(model):
    assert build_explainer(model)([]) == []


@pytest.mark.parametrize("engine", ["roi", "autograd"])
def test_a_callers_autocast_does_not_reach_the_maps(model, engine):
    explainer = build_explainer(model, engine=engine)
    expected = explainer(INPUTS)[0]["instances"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = explainer(INPUTS)[0]["instances"]
    assert found.heatmaps.values.dtype == torch.float32
    assert torch.equal(found.heatmaps.values, expected.heatmaps.values)
    assert torch.equal(found.scores, expected.scores)


class Stubborn(torch.nn.BatchNorm2d):
    """A batch norm that eval() does not reach."""

    def train(self, mode=True):
        return super().train(True)


@pytest.mark.parametrize(
    "norm, why",
    [
        (torch.nn.BatchNorm2d(64, track_running_stats=False), "a BatchNorm2d that keeps no running ones"),
        (Stubborn(64), "a Stubborn that stays in training mode"),
    ],
)
def test_a_batch_norm_that_lets_images_see_each_other(model, norm, why):
    model.backbone.fpn_output3.norm = norm
    before = state_of(model)
    with pytest.raises(ValueError, match=rf"got 'backbone.fpn_output3.norm', {why}: .*FrozenBatchNorm2d"):
        build_explainer(model)(INPUTS)
    assert_unchanged(before, state_of(model))
    model.backbone.fpn_output3.norm = torch.nn.BatchNorm2d(64)
    assert len(build_explainer(model)(INPUTS)) == 2
