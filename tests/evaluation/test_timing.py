"""The comparison with a clock explains the same."""

import torch

from odam_d2.evaluation import TimedComparison
from odam_d2.explain import build_comparison
from tests.helpers import compact_detector, random_input


def test_same_maps_and_a_time_for_each_method():
    model = compact_detector("faster_rcnn")
    comparison = build_comparison(model, ["odam", "gradcam"], ("score",))
    inputs = [random_input(64, 96)]
    (plain,), (timed,) = comparison(inputs), TimedComparison.of(comparison)(inputs)
    assert set(timed["seconds"]) == {"odam", "gradcam"} and all(s > 0 for s in timed["seconds"].values())
    for name, maps in plain["heatmaps"].items():
        assert torch.allclose(timed["heatmaps"][name].to_image("score"), maps.to_image("score"), atol=1e-4)
