"""One guarded call under everything that explains, and no more than that."""

import pytest
import torch

from odam_d2.evaluation.runs.timing import TimedComparison
from odam_d2.explain import Explainer, MethodComparison, build_comparison, build_explainer
from odam_d2.explain.guarded import GuardedExplainer
from tests.helpers import autocast_on_cpu, compact_detector, given, random_input

INPUTS = [random_input(64, 96)]
BOXES = [given((64, 96), [[5, 5, 40, 40]], [1])]


def test_a_comparison_has_nothing_of_a_single_method():
    assert issubclass(MethodComparison, GuardedExplainer) and not issubclass(MethodComparison, Explainer)
    for name in ("combine", "map_windows", "heat_maps", "smoothing", "linear", "whole_level", "explains"):
        assert hasattr(Explainer, name) and not hasattr(MethodComparison, name)
    for cls in (Explainer, MethodComparison, TimedComparison):
        assert cls.__call__ is GuardedExplainer.__call__


class Areas(GuardedExplainer[int]):
    """Explains an image by a number, and says in what state it was asked."""

    uses_gradients = False

    def explain(self, trace, batched_inputs, instances):
        self.seen = (torch.is_inference_mode_enabled(), autocast_on_cpu(), self.model.training)
        return [entry["image"].shape[1] * entry["image"].shape[2] for entry in batched_inputs]

    def result(self, found, explanation, number):
        return {"instances": found, "area": explanation, "number": number}


def test_whatever_is_explained_is_guarded():
    model = compact_detector("faster_rcnn").train()
    areas = Areas(model, ())
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        first, second = areas([*INPUTS, random_input(32, 64)], [*BOXES, given((32, 64), [], [])])
    assert (first["area"], second["area"]) == (64 * 96, 32 * 64) and (first["number"], second["number"]) == (0, 1)
    assert areas.seen == (False, False, False) and model.training and areas([]) == []
    with torch.no_grad():
        model.roi_heads.box_head.fc1.bias[0] = float("nan")
    with pytest.raises(FloatingPointError, match="fc1.bias"):
        areas(INPUTS, BOXES)


def test_seconds_are_those_of_the_call_they_come_with():
    comparison = TimedComparison.of(build_comparison(compact_detector("faster_rcnn"), ["odam"], ("score",)))
    (measured,) = comparison(INPUTS, BOXES)
    comparison.wanted = lambda entry, found: False
    (unwanted,) = comparison(INPUTS)
    assert measured["seconds"]["odam"] > 0 and unwanted["seconds"] == {} and unwanted["heatmaps"] == {"odam": None}
    assert not [name for name in vars(comparison) if "seconds" in name]


def test_an_explanation_is_complete_when_it_is_made():
    explainer = build_explainer(compact_detector("retinanet"), attributes=("score",))
    trace = explainer.model.trace(INPUTS, BOXES)
    for engine in ("auto", "autograd"):
        choose = build_explainer(explainer.model, attributes=("score",), engine=engine).choose_engine
        for chunk in choose(trace).gradient_windows(trace, ("score",)):
            assert torch.equal(chunk.boxes, trace.boxes[chunk.detections])
            with pytest.raises(AttributeError):  # frozen
                chunk.boxes = trace.boxes
