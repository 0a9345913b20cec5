"""The comparison with a clock explains the same."""

import pytest
import torch

from odam_d2.evaluation.runs.timing import TimedComparison
from odam_d2.explain import build_comparison
from tests.helpers import compact_detector, random_input


@pytest.fixture(scope="module")
def comparison():
    return build_comparison(compact_detector("faster_rcnn"), ["odam", "gradcam"], ("score",))


def test_same_maps_and_a_time_for_each_method(comparison):
    inputs = [random_input(64, 96)]
    (plain,), (timed,) = comparison(inputs), TimedComparison.of(comparison)(inputs)
    assert set(timed["seconds"]) == {"odam", "gradcam"} and all(s > 0 for s in timed["seconds"].values())
    for name, maps in plain["heatmaps"].items():
        assert torch.allclose(timed["heatmaps"][name].to_image("score"), maps.to_image("score"), atol=1e-4)


def test_images_that_nobody_wants_take_no_time(comparison):
    first, second = (random_input(64, 96, seed=k) for k in range(2))
    timed = TimedComparison.of(comparison)
    timed.wanted = lambda entry, found: entry is first
    named = [set(timed([one])[0]["seconds"]) for one in (first, second, first)]
    assert named == [{"odam", "gradcam"}, set(), {"odam", "gradcam"}]


def test_who_is_wanted_stays(comparison, monkeypatch):
    monkeypatch.setattr(comparison, "wanted", lambda entry, found: False)
    (timed,) = TimedComparison.of(comparison)([random_input(64, 96)])
    assert timed["heatmaps"] == {"odam": None, "gradcam": None} and timed["seconds"] == {}
