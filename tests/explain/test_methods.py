"""What every method promises: one contract, over all of them."""

import inspect

import pytest
import torch

from odam_d2.explain import ENGINES, METHODS, build_comparison, build_explainer
from tests.explain.test_base import assert_unchanged, state_of, unusual
from tests.helpers import compact_detector, given, random_input, relative_error

INPUTS = [random_input(96, 128, 192, 256), random_input(64, 96, seed=1)]
# In the frame of the 192 x 256 original: of several sizes, one over the border.
BOXES = given((192, 256), [[20, 30, 90, 120], [100, 20, 240, 180], [-10, 100, 60, 200]], [0, 2, 1])
NONE = given((64, 96), [], [])
OPTIONS = {"drise": {"num_masks": 3, "batch_size": 2, "progress": False}}
GRADIENT_METHODS = sorted(name for name, cls in METHODS.items() if cls.uses_gradients)


@pytest.fixture(scope="module", params=["faster_rcnn", "retinanet"])
def model(request):
    return compact_detector(request.param)


def build(model, method, **settings):
    """The method at its cheapest, for the score and, where it can, a side."""
    attributes = METHODS[method].explains or ("score", "left")
    return build_explainer(model, method, attributes, **OPTIONS.get(method, {}), **settings)


def test_all_are_there():
    assert set(METHODS) == {
        "odam", "gradcam", "gradcam_box", "gradcam++", "hirescam", "layercam", "ssgradcam", "ssgradcam++", "gcame",
        "drise", "random",
    }  # fmt: skip
    for cls in METHODS.values():
        assert "Source: " in inspect.getdoc(cls)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_maps_of_detections(model, method):
    explainer = build(model, method)
    before = state_of(model)
    results = explainer(INPUTS)
    assert_unchanged(before, state_of(model))
    with torch.no_grad():
        expected = model(INPUTS)
        again = explainer(INPUTS)
    for number, (result, stock, other) in enumerate(zip(results, expected, again, strict=True)):
        assert set(result) == {"instances"}
        instances, heatmaps = result["instances"], result["instances"].heatmaps
        assert torch.equal(instances.pred_boxes.tensor, stock["instances"].pred_boxes.tensor)
        assert 3 >= len(instances) == len(heatmaps) >= 2
        assert heatmaps.attributes == explainer.attributes
        for name in explainer.attributes:
            maps = heatmaps.to_image(name)
            assert (
                maps.shape == (len(instances), INPUTS[number]["height"], INPUTS[number]["width"])
                and maps.dtype == torch.float32
            )
            assert bool(torch.isfinite(maps).all())
            assert float(maps.min()) == 0.0
            assert set(maps.flatten(1).amax(1).tolist()) <= {0.0, 1.0}  # what is negative everywhere is a zero map
        assert torch.equal(other["instances"].heatmaps.values, heatmaps.values)
    assert any(bool(result["instances"].heatmaps.values.any()) for result in results)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_maps_of_given_boxes_and_of_none(model, method):
    explainer = build(model, method)
    first, second = explainer(INPUTS, [BOXES, NONE])
    assert [len(first["instances"].heatmaps), len(second["instances"].heatmaps)] == [3, 0]
    assert bool(first["instances"].heatmaps.to_image("score").any())
    assert second["instances"].heatmaps.to_image("score").shape == (0, 64, 96)
    (nothing,) = explainer(INPUTS[1:], [NONE])
    assert len(nothing["instances"].heatmaps) == 0
    assert nothing["instances"].heatmaps.attributes == explainer.attributes


@pytest.mark.parametrize("method", sorted(METHODS))
def test_images_of_a_batch_do_not_touch_each_other(model, method):
    # Of one size, so that there is no padding, which the means over a level would see.
    inputs = [random_input(64, 96, seed=seed) for seed in (0, 1)]
    explainer = build(model, method)
    for result, entry in zip(explainer(inputs), inputs, strict=True):
        alone = explainer([entry])[0]["instances"].heatmaps
        found = result["instances"].heatmaps
        assert relative_error(found.to_image("score", False), alone.to_image("score", False)) < 1e-3


@pytest.mark.parametrize("method", sorted(METHODS))
def test_an_unusual_model_is_as_it_was_for_a_caller_without_gradients(method):
    model = unusual(compact_detector("faster_rcnn"))
    explainer = build(model, method)
    before = state_of(model)
    with torch.inference_mode():
        explainer([{**INPUTS[0], "image": INPUTS[0]["image"].clone()}], [BOXES])
    assert_unchanged(before, state_of(model))


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_fast_engines_and_autograd_give_the_same(model, method):
    attributes = ("score", "logit", "left")
    fast, plain = (
        build_explainer(model, method, attributes, engine=engine)(INPUTS[:1], [BOXES])[0]["instances"].heatmaps
        for engine in ("auto", "autograd")
    )
    for name in attributes:
        assert relative_error(fast.to_image(name, False), plain.to_image(name, False)) < 1e-4


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_a_layer_of_the_backbone(method):
    model = compact_detector("faster_rcnn")
    explainer = build(model, method, layer="backbone.bottom_up.res4")
    heatmaps = explainer(INPUTS[:1], [BOXES])[0]["instances"].heatmaps
    assert heatmaps.strides.tolist() == [[16.0, 16.0]] * 3
    assert bool(torch.isfinite(heatmaps.values).all()) and bool(heatmaps.values.any())


class Counting:
    """Counts the passes of gradients of every engine."""

    def __init__(self, monkeypatch):
        self.calls = 0
        for cls in ENGINES.values():
            monkeypatch.setattr(cls, "gradient_windows", self.counted(cls.gradient_windows))

    def counted(self, function):
        def call(*args, **kwargs):
            self.calls += 1
            return function(*args, **kwargs)

        return call


def test_all_methods_share_one_trace_and_one_pass_of_gradients(model, monkeypatch):
    alone = {name: build(model, name)(INPUTS, [BOXES, NONE]) for name in GRADIENT_METHODS}
    counting, traces = Counting(monkeypatch), []
    stock = type(model).trace
    monkeypatch.setattr(type(model), "trace", lambda self, *args: traces.append(1) or stock(self, *args))
    together = build_comparison(model, GRADIENT_METHODS, ("score", "left"))(INPUTS, [BOXES, NONE])
    assert counting.calls == len(traces) == 1
    for number, result in enumerate(together):
        assert list(result["heatmaps"]) == GRADIENT_METHODS
        assert result["instances"].heatmaps is result["heatmaps"][GRADIENT_METHODS[0]]
        for name, heatmaps in result["heatmaps"].items():
            expected = alone[name][number]["instances"].heatmaps
            assert torch.equal(heatmaps.windows, expected.windows) and heatmaps.attributes == expected.attributes
            assert torch.allclose(heatmaps.values, expected.values, rtol=1e-4, atol=1e-6 * _largest(expected.values))


def _largest(values):
    return float(values.max()) if values.numel() else 0.0


def test_a_method_without_gradients_is_compared_on_what_it_explains(model):
    comparison = build_comparison(model, {"odam": {}, "drise": OPTIONS["drise"]})
    assert comparison.attributes == ("score",)
    found = comparison(INPUTS, [BOXES, NONE])
    expected = build(model, "drise")(INPUTS, [BOXES, NONE])
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one["heatmaps"]["drise"].values, other["instances"].heatmaps.values)
        assert len(one["heatmaps"]["odam"]) == len(other["instances"])
    assert comparison([]) == []


def test_only_methods_without_gradients(monkeypatch):
    counting = Counting(monkeypatch)
    found = build_comparison(compact_detector("faster_rcnn"), {"drise": OPTIONS["drise"]})(INPUTS[:1])
    assert list(found[0]["heatmaps"]) == ["drise"] and counting.calls == 0


CASCADE_BOX = given((192, 256), [[40, 40, 200, 160]], [0])


@pytest.fixture(scope="module")
def cascade():
    return compact_detector("cascade_rcnn")


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_three_stages_are_explained_exactly(cascade, method, recwarn):
    """On one level the stages' gradients are added first; what isn't linear in them says that it takes the slow way."""
    fast, plain = (
        build_explainer(cascade, method, ("score",), engine=engine)(INPUTS[:1], [CASCADE_BOX])
        for engine in ("auto", "autograd")
    )
    fast, plain = fast[0]["instances"].heatmaps, plain[0]["instances"].heatmaps
    assert relative_error(fast.to_image("score", False), plain.to_image("score", False)) < 1e-4
    slow = [w for w in recwarn if "not linear" in str(w.message)]
    assert len(slow) == (0 if METHODS[method].linear else 1)
    if slow:
        with pytest.raises(ValueError, match="not linear in their gradients.*engine='auto'"):
            build_explainer(cascade, method, ("score",), engine="roi")(INPUTS[:1], [CASCADE_BOX])
        # The box is the last stage's alone, which the fast engine can do.
        build_explainer(cascade, method, ("left",), engine="roi")(INPUTS[:1], [CASCADE_BOX])


@pytest.mark.parametrize("fail_at", ["heatmaps of one", "gradients"])
def test_maps_that_are_not_finite_are_said(fail_at, monkeypatch):
    model = compact_detector("faster_rcnn")
    if fail_at == "gradients":
        monkeypatch.setattr(METHODS["layercam"], "combine", lambda self, chunk: chunk.gradients[:, :, 0] / 0.0)
        explainer = build(model, "layercam")
    else:
        monkeypatch.setattr(METHODS["gradcam"], "combine", lambda self, chunk: chunk.features[:1, :2] * float("inf"))
        explainer = build_comparison(model, ("odam", "gradcam"), ("score", "left"))
    with pytest.raises(FloatingPointError, match="heat maps of image 0"):
        explainer(INPUTS[:1], [given((192, 256), [[20, 30, 90, 120]], [0])])
