"""Several methods at once: images whose maps nobody wants cost no explanation."""

import pytest
import torch

from odam_d2.evaluation.runs.timing import TimedComparison
from odam_d2.explain import build_comparison
from tests.helpers import compact_detector, given, random_input

INPUTS = [random_input(64, 96, seed=k) for k in range(2)]


@pytest.fixture(params=["plain", "timed"])
def comparison(request):
    model = compact_detector("faster_rcnn", detections=3)
    methods = {"odam": {}, "drise": {"num_masks": 2, "progress": False}}
    found = build_comparison(model, methods, ("score",))
    return found if request.param == "plain" else TimedComparison.of(found)


@pytest.fixture
def asked(comparison, monkeypatch):
    """How many images went through the detector, call by call."""
    sizes, stock = [], type(comparison.model).trace
    monkeypatch.setattr(
        type(comparison.model), "trace", lambda self, x, *more: sizes.append(len(x)) or stock(self, x, *more)
    )
    return sizes


def test_nobody_wants_a_image(comparison, asked):
    seen = []
    comparison.wanted = lambda entry, found: seen.append((entry, len(found)))
    (result,) = comparison(INPUTS[:1])
    assert result["heatmaps"] == {"odam": None, "drise": None} and not result["instances"].has("heatmaps")
    assert asked == [1] and seen == [(INPUTS[0], 3)] and len(result["instances"]) == 3


def test_a_batch_with_a_wanted_image_is_explained(comparison, asked):
    without = comparison(INPUTS)
    comparison.wanted = lambda entry, found: entry is INPUTS[1]
    for one, other in zip(comparison(INPUTS), without, strict=True):
        for name, maps in other["heatmaps"].items():
            assert torch.equal(one["heatmaps"][name].values, maps.values)
    assert asked == [2, 2, 2] * 2  # detection, and two masks on each of two images


def test_given_boxes_are_always_wanted(comparison):
    comparison.wanted = lambda entry, found: False
    (result,) = comparison(INPUTS[:1], [given((64, 96), [[5, 5, 40, 40]], [1])])
    assert [len(maps) for maps in result["heatmaps"].values()] == [1, 1]
