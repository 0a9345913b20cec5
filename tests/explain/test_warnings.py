"""What is said of a detector is said at the line of the user's call, whatever lies between."""

import numpy as np
import pytest
import torch
from detectron2.evaluation import inference_on_dataset

from odam_d2.evaluation.runs.evaluator import GuardedComparison
from odam_d2.evaluation.runs.timing import TimedComparison
from odam_d2.explain import build_comparison, build_explainer
from odam_d2.explain.engines import roi
from odam_d2.predictor import OdamPredictor
from tests.helpers import compact_detector, given, random_input

INPUTS = [random_input(64, 96)]
IMAGE = np.zeros((64, 96, 3), dtype=np.uint8)


class Evaluator:
    """Looks at nothing."""

    def reset(self):
        pass

    def process(self, inputs, outputs):
        pass

    def evaluate(self):
        return {}


# An approximation of which is told: group norm at frozen statistics.
TOLD = {"attributes": ("score",), "group_norm": "frozen"}


def predictor(model):
    return OdamPredictor.of(model, min_size=0, **TOLD)


# Each makes, from a detector with group norm, what the user calls.
CALLS = {
    "explainer": lambda model: (build_explainer(model, **TOLD), (INPUTS,)),
    "explainer of given boxes": lambda model: (
        build_explainer(model, **TOLD), (INPUTS, [given((64, 96), [[8, 8, 56, 56]], [0])])
    ),
    "gradcam": lambda model: (build_explainer(model, "gradcam", **TOLD), (INPUTS,)),
    "comparison": lambda model: (build_comparison(model, ["odam", "gradcam"], **TOLD), (INPUTS,)),
    "timed comparison": lambda model: (TimedComparison.of(build_comparison(model, ["odam"], **TOLD)), (INPUTS,)),
    "guarded comparison": lambda model: (GuardedComparison(build_comparison(model, ["odam"], **TOLD)), (INPUTS,)),
    "evaluation loop": lambda model: (
        inference_on_dataset, (build_comparison(model, ["odam"], **TOLD), [INPUTS], Evaluator())
    ),
    "predictor": lambda model: (predictor(model), (IMAGE,)),
    "predictor of a batch": lambda model: (predictor(model), ([IMAGE],)),
}  # fmt: skip


def assert_said_here(caught, sentence):
    (one,) = [warning for warning in caught if sentence in str(warning.message)]
    with open(__file__, encoding="utf-8") as file:
        line = file.read().splitlines()[one.lineno - 1]
    assert one.filename == __file__ and line.endswith("# the user's line")


@pytest.mark.parametrize("name", CALLS)
def test_an_approximation_is_said_at_the_users_line(name):
    call, arguments = CALLS[name](compact_detector("fcos"))
    with pytest.warns(UserWarning) as caught:
        call(*arguments)  # the user's line
    assert_said_here(caught, "maps are approximate")


def test_odam_nms_inside_a_detector():
    model = compact_detector("fcos", "ODAM.NMS.ENABLED", True)
    with pytest.warns(UserWarning) as caught, torch.no_grad():
        model(INPUTS)  # the user's line
    assert_said_here(caught, "maps are approximate")


@pytest.mark.parametrize(
    "engine, method, place, function",
    [
        ("roi", "odam", roi, "pooled_gradient_times_features"),
        ("roi", "gradcam", torch, "einsum"),
        ("autograd", "odam", torch.autograd, "grad"),
        ("autograd", "gradcam", torch.autograd, "grad"),
    ],
)
def test_out_of_memory_too(engine, method, place, function, monkeypatch):
    explainer = build_explainer(compact_detector("faster_rcnn"), method, ("score",), engine=engine)
    boxes = given((64, 96), [[8, 8, 56, 56], [9, 8, 57, 56]], [0, 1])
    stock, failed = getattr(place, function), []

    def short(*args, **kwargs):
        if not failed and (engine == "roi" or kwargs.get("is_grads_batched")):
            failed.append(True)
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return stock(*args, **kwargs)

    monkeypatch.setattr(place, function, short)
    with pytest.warns(UserWarning) as caught:
        explainer(INPUTS, [boxes])  # the user's line
    assert failed and len(caught) == 1
    assert_said_here(caught, "out of memory")
