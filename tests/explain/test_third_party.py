"""Engines and methods of somebody else's need no more than what a gradient and a map are."""

import pytest
import torch

from odam_d2.explain import (
    ENGINES,
    METHODS,
    Explainer,
    GradientEngine,
    build_comparison,
    build_explainer,
    register_engine,
    register_method,
)
from odam_d2.explain.engines.autograd import AutogradEngine
from odam_d2.explain.windows import GradientWindows
from tests.helpers import compact_detector, given, random_input, relative_error

INPUTS = [random_input(96, 128, seed=3)]
BOXES = [given((96, 128), [[20.0, 16.0, 70.0, 80.0], [60.0, 30.0, 120.0, 90.0]], [0, 1])]
BUILT = []  # how each engine was built


@pytest.fixture
def tiny(monkeypatch):
    """A third party's engine and method, registered for the test."""
    for registry in (ENGINES, METHODS):
        monkeypatch.setattr(registry, "_obj_map", dict(registry._obj_map))
    BUILT.clear()

    @register_engine("tiny")
    class TinyEngine(GradientEngine):
        """One autograd call a scalar, on whole levels."""

        def __init__(self, model, layer=None):
            super().__init__(model, layer)
            BUILT.append((model, layer))

        def unsupported(self, trace, attributes=()):
            return "there are no levels" if not trace.level_names else None

        def gradient_windows(self, trace, attributes):
            with torch.enable_grad():
                features = {name: one.detach().requires_grad_() for name, one in trace.features.items()}
                said = trace.head.predict(features, trace)
                scalars = {"score": said.scores, "left": -said.boxes[:, 0]}
                for row, level in enumerate(trace.level_index[:, 0].tolist()):
                    name = trace.level_names[level]
                    found = [torch.autograd.grad(scalars[a][row], features[name], retain_graph=True)[0]
                             for a in attributes]  # fmt: skip
                    image = trace.image_index[row : row + 1]
                    yield GradientWindows(
                        detections=torch.tensor([row]),
                        source=0,
                        boxes=trace.boxes[row : row + 1],
                        features=trace.features[name],
                        image_index=image,
                        windows=torch.tensor([[0, 0, *features[name].shape[-2:]]]),
                        strides=torch.tensor([trace.strides[name]] * 2),
                        gradients=torch.stack([gradient[image[0]] for gradient in found])[None],
                        adds_up=[False] * len(attributes),
                    )

    @register_method("tiny")
    class Tiny(Explainer):
        """What a gradient times features is without its sign."""

        linear = True

        def combine(self, chunk):
            return (chunk.gradients * chunk.activations()[:, None]).sum(2).abs()

    return TinyEngine, Tiny


@pytest.fixture(scope="module")
def model():
    return compact_detector("faster_rcnn")


def maps(explainer, name="score"):
    return explainer(INPUTS, BOXES)[0]["instances"].heatmaps.to_image(name, False)


def test_an_engine_that_smooths_nothing_and_knows_no_group_norm(tiny, model):
    mine = build_explainer(model, attributes=("score", "left"), engine="tiny", group_norm="exact")
    assert BUILT == [(model, None)] and not hasattr(mine.choose_engine.candidates[0], "group_norm")
    plain = build_explainer(model, attributes=("score", "left"), engine="autograd")
    for name in ("score", "left"):
        assert relative_error(maps(mine, name), maps(plain, name)) < 1e-4


def test_an_engine_is_not_asked_for_smoothing_that_it_has_not(tiny, model):
    with pytest.raises(ValueError, match="TinyEngine does not smooth gradients: say engine='auto'"):
        maps(build_explainer(model, attributes=("score",), engine="tiny", smoothing=0.2))
    with pytest.raises(ValueError, match="TinyEngine does not smooth gradients"):
        methods = {"gradcam": {}, "odam": {"smoothing": 0.2}}
        build_comparison(model, methods, ("score",), engine="tiny")(INPUTS, BOXES)
    assert build_comparison(model, ["gradcam", "odam"], ("score",), engine="tiny")(INPUTS, BOXES)


def test_where_it_is_the_only_one_smoothing_is_left_to_autograd_with_a_warning(tiny, monkeypatch):
    for name in ("roi", "dense"):
        del ENGINES._obj_map[name]
    model = compact_detector("faster_rcnn")
    assert type(build_explainer(model).choose_engine(model.trace(INPUTS, BOXES))) is tiny[0]
    explainer = build_explainer(model, attributes=("score",), smoothing=0.2)
    with pytest.warns(UserWarning, match="by plain autograd, exact but slow, since TinyEngine does not smooth"):
        found = maps(explainer)
    assert type(explainer.choose_engine(model.trace(INPUTS, BOXES))) is AutogradEngine
    monkeypatch.undo()
    assert relative_error(found, maps(build_explainer(model, attributes=("score",), smoothing=0.2))) < 1e-4


def test_a_method_without_options(tiny, model):
    signed = maps(build_explainer(model, "hirescam", ("score",), engine="autograd"))
    for engine in ("auto", "tiny"):
        found = maps(build_explainer(model, "tiny", ("score",), engine=engine))
        assert bool((found >= signed - 1e-6).all()) and float((found - signed).max()) > 0
    with pytest.raises(ValueError, match=r"`smoothing` must be 0 for method 'tiny'; got 0.1.*\['odam'\]"):
        build_explainer(model, "tiny", smoothing=0.1)
    with pytest.raises(ValueError, match="options of method 'tiny' must be left out"):
        build_explainer(model, "tiny", width=1)
    together = build_comparison(model, {"tiny": {}, "odam": {"smoothing": 0.1}}, ("score",))(INPUTS, BOXES)
    assert list(together[0]["heatmaps"]) == ["tiny", "odam"]


@pytest.mark.parametrize("register, name", [(register_engine, "roi"), (register_method, "gradcam++")])
def test_a_name_that_is_taken(register, name):
    with pytest.raises(AssertionError, match=f"'{name.replace('+', '[+]')}' was already registered"):
        register(name)(object)
