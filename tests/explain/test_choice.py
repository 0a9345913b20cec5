"""That every method leaves an engine that explains other scores than were reported."""

import pytest
import torch

from odam_d2.explain import ENGINES, METHODS, build_comparison, build_explainer
from odam_d2.explain.agreement import ScoresDifferError
from odam_d2.explain.engines.roi import RoIEngine
from tests.helpers import compact_detector, given, random_input

INPUTS = [random_input(96, 128, seed=3)]
BOXES = [given((96, 128), [[20.0, 16.0, 70.0, 80.0], [60.0, 30.0, 120.0, 90.0]], [0, 1])]
GRADIENT_METHODS = sorted(name for name, kind in METHODS.items() if kind.uses_gradients)


@pytest.fixture
def asked(monkeypatch):
    """How often an engine was asked that explains nothing but other scores than were reported."""
    calls = []

    class Wrong(RoIEngine):
        """Finds out that its scores are others."""

        def gradient_windows(self, trace, attributes, smoothing=0.0):
            calls.append(attributes)
            raise ScoresDifferError("its scores are others")
            yield

        def odam_maps(self, trace, attributes, smoothing=0.0):
            return list(self.gradient_windows(trace, attributes, smoothing))

    monkeypatch.setattr(ENGINES, "_obj_map", {"wrong": Wrong, "autograd": ENGINES["autograd"]})
    return calls


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_each_method_goes_on_by_autograd(method, asked):
    model = compact_detector("faster_rcnn")
    explainer = build_explainer(model, method, attributes=("score",))
    for _ in range(2):  # the second time at once
        found = explainer(INPUTS, BOXES)[0]["instances"]
    assert len(asked) == 1
    expected = build_explainer(model, method, attributes=("score",), engine="autograd")(INPUTS, BOXES)[0]["instances"]
    assert torch.equal(found.heatmaps.values, expected.heatmaps.values)
    assert bool(found.heatmaps.to_image("score").any())


def test_so_does_a_comparison(asked):
    model = compact_detector("faster_rcnn")
    found = build_comparison(model, ["odam", "gradcam", "layercam"], attributes=("score",))(INPUTS, BOXES)[0]
    assert len(asked) == 1
    for method, heatmaps in found["heatmaps"].items():
        expected = build_explainer(model, method, attributes=("score",), engine="autograd")(INPUTS, BOXES)[0]
        assert torch.equal(heatmaps.values, expected["instances"].heatmaps.values)


def test_an_engine_that_was_asked_for_by_name_is_not_left(asked):
    explainer = build_explainer(compact_detector("faster_rcnn"), attributes=("score",), engine="wrong")
    with pytest.raises(ValueError, match="`engine` must be able to explain this detector exactly"):
        explainer(INPUTS)
