"""Automatic differentiation by many scalars at once, against one call a map written down here."""

import warnings

import pytest
import torch
from detectron2.modeling import build_model

from odam_d2.explain import AutogradEngine, build_explainer
from odam_d2.explain.engines.norm_gradients import contiguous_norm_gradients
from odam_d2.explain.targets import target_scalars
from odam_d2.modeling.query_architecture import ARCHITECTURES, STAGES
from tests.helpers import given, query_config, random_input, relative_error
from tests.wants import require_package

ATTRIBUTES = ("score", "logit", "left", "top", "right", "bottom")
# Two sizes, so that one image is padded.
INPUTS = [random_input(96, 128, 192, 256), random_input(64, 96, seed=1)]


@pytest.fixture(scope="module", params=sorted(ARCHITECTURES))
def model(request):
    require_package("transformers")
    torch.manual_seed(0)
    return build_model(query_config(request.param)).eval()


def maps_one_by_one(trace):
    """For each source (D, K, H, W): gradient times features, summed over channels, before the ReLU."""
    leaves = {name: feature.clone().requires_grad_() for name, feature in trace.features.items()}
    with contiguous_norm_gradients(trace.head.network):
        targets = target_scalars(trace.head.predict(leaves, trace), ATTRIBUTES)
    maps = {name: [] for name in leaves}
    for index, number in enumerate(trace.image_index.tolist()):
        for target in targets:
            gradients = torch.autograd.grad(target[index], list(leaves.values()), retain_graph=True)
            for name, gradient in zip(leaves, gradients, strict=True):
                maps[name].append((gradient[number] * leaves[name].detach()[number]).sum(0))
    return [torch.stack(m).unflatten(0, (len(trace), len(ATTRIBUTES))) for m in maps.values()]


@pytest.mark.parametrize("layer", STAGES)
def test_batched_gradients_give_the_maps_of_one_call_each(model, layer, monkeypatch):
    monkeypatch.setattr(model, "layer", layer)
    trace = model.trace(INPUTS)
    assert trace.image_index.unique().tolist() == [0, 1]
    expected = maps_one_by_one(trace)
    engine = AutogradEngine(model)
    monkeypatch.setattr(engine.gradients, "at_once", 14)  # two detections and a bit
    found = [torch.full_like(m, float("nan")) for m in expected]
    for chunk in engine.gradient_windows(trace, ATTRIBUTES, 0.0):
        assert len(chunk.detections) <= 2
        assert chunk.adds_up == [len(expected) > 1] * len(ATTRIBUTES)
        signed = (chunk.gradients * chunk.activations()[:, None]).sum(2)
        found[chunk.source][chunk.detections] = signed
    assert engine.gradients.batched
    for one, other in zip(found, expected, strict=True):
        assert relative_error(one.flatten(0, 1), other.abs().flatten(0, 1) * other.sign().flatten(0, 1)) < 1e-3
        assert float((one - other).abs().amax()) <= 1e-4 * float(other.abs().amax())


def test_maps_of_all_sources_are_added_in_the_image_before_the_relu(model):
    result = build_explainer(model, attributes=("score",))(INPUTS[:1])[0]["instances"]
    trace = model.trace(INPUTS[:1])
    per_source = maps_one_by_one(trace)
    height, width = trace.image_sizes[0]
    signed = torch.zeros(len(trace), height, width)
    for source, stride in zip(per_source, trace.strides.values(), strict=True):
        # Bilinear between cell centres, the same at the borders: what `align_corners=False` does at a whole factor.
        factor = int(stride)
        up = torch.nn.functional.interpolate(source[:, :1], scale_factor=factor, mode="bilinear")[:, 0]
        signed += up[:, :height, :width]
    if len(per_source) > 1:
        expected = signed.clamp(min=0)
    else:  # one source: the ReLU is taken at its cells
        up = torch.nn.functional.interpolate(per_source[0][:, :1].clamp(min=0), scale_factor=32, mode="bilinear")
        expected = up[:, 0, :height, :width]
    found = result.heatmaps.to_image("score", normalize=False, size=(height, width))
    assert relative_error(found, expected) < 1e-4


def test_a_whole_call_is_quiet_and_gives_every_map(model):
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("error")
        model(INPUTS)  # what it caches in inference mode must not get in the way
        results = build_explainer(model, attributes=("combined",))(INPUTS)
    for result, (height, width) in zip(results, ((192, 256), (64, 96)), strict=True):
        maps = result["instances"].heatmaps
        assert len(maps) == len(result["instances"]) > 0
        assert maps.to_image("combined").shape == (len(maps), height, width)


def test_given_boxes_and_none_at_all(model, monkeypatch):
    explainer = build_explainer(model)
    boxes = [given((192, 256), [[60, 50, 200, 150]], [1]), given((64, 96), [], [])]
    results = explainer(INPUTS, boxes)
    assert [len(r["instances"].heatmaps) for r in results] == [1, 0]
    assert results[0]["instances"].has("query_index")
    monkeypatch.setattr(model, "score_threshold", 1.0)
    assert [len(r["instances"].heatmaps) for r in explainer(INPUTS)] == [0, 0]


@pytest.mark.parametrize("queries", ["", "_own_query"])
def test_a_module_can_be_named_as_layer(model, queries, monkeypatch):
    """In the place of a stage; what is held fast behind it stays so."""
    path = {1: "network.model.input_projection", 3: "network.model.encoder_input_proj.2"}
    layer = path[model.architecture.backbone_maps]
    monkeypatch.setattr(model, "layer", f"encoder{queries}")
    named = build_explainer(model, attributes=("logit",), layer=layer)(INPUTS[:1])[0]["instances"].heatmaps
    assert float(named.values.max()) > 0
    if model.architecture.backbone_maps == 1:
        monkeypatch.setattr(model, "layer", f"projection{queries}")
        staged = build_explainer(model, attributes=("logit",))(INPUTS[:1])[0]["instances"].heatmaps
        assert torch.allclose(named.values, staged.values, atol=1e-4 * float(staged.values.max()))
