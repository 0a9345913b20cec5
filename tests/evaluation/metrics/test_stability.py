"""Stability: noise of one percent, the same boxes in both images, and numbers by hand."""

import pytest
import torch

from odam_d2.evaluation import METRICS, ExplainedObjects, Measuring, TrueObjects
from odam_d2.evaluation.metrics.stability import explain_with_noise, noisy_image, stability
from odam_d2.explain import build_comparison
from odam_d2.modeling.provenance import UnreachedBoxError
from odam_d2.structures import HeatMaps
from tests.evaluation.scenes import delta, entry, output, record
from tests.helpers import compact_detector, given, random_input


def columns(*values):
    """One map whose cells are three columns of 8 pixels of an 8 x 24 image."""
    return HeatMaps(
        torch.tensor([values]), torch.tensor([[0, 0, 1, 3]]), torch.tensor([[1, 3]]),
        torch.full((1, 2), 8.0), ("score",), (8, 24), (8, 24),
    )  # fmt: skip


def test_noise_is_one_percent_of_the_range_and_stays_within_it():
    grey = torch.full((3, 100, 100), 100.0)
    change = noisy_image(grey) - grey
    # 1 % of 255; the standard error of 30 000 draws is .01.
    assert float(change.std()) == pytest.approx(2.55, abs=0.04) and abs(float(change.mean())) < 0.05
    assert torch.equal(noisy_image(grey), noisy_image(grey)) and not torch.equal(noisy_image(grey, 1), grey)
    for border in (0.0, 255.0):
        noisy = noisy_image(torch.full((3, 9, 9), border))
        assert noisy.min() >= 0.0 and noisy.max() <= 255.0


def test_values_worked_out_by_hand():
    same, turned, half = columns(1.0, 2.0, 3.0), columns(3.0, 2.0, 1.0), columns(1.0, 3.0, 2.0)
    assert stability(same, same, "score").tolist() == pytest.approx([1.0])
    assert stability(same, turned, "score").tolist() == pytest.approx([-1.0])
    # Ranks 1, 2, 3 and 1, 3, 2: 1 - 6 * (0 + 1 + 1) / (3 * 8).
    assert stability(same, half, "score").tolist() == pytest.approx([0.5])
    assert stability(same, columns(0.0, 0.0, 0.0), "score").tolist() == [0.0]


def test_metric_without_maps_of_the_noisy_image_has_no_value():
    truth = TrueObjects.of(record())
    seen = ExplainedObjects(columns(1.0, 2.0, 3.0), "score", torch.tensor([0]), truth, torch.zeros(3, 8, 24))
    assert torch.isnan(METRICS["stability"].measure(seen)).all()
    seen.around_noise = (columns(1.0, 2.0, 3.0), columns(1.0, 3.0, 2.0))
    assert METRICS["stability"].measure(seen).tolist() == pytest.approx([0.5])


@pytest.mark.parametrize("family", ["faster_rcnn", "retinanet"])
def test_is_what_two_explanations_of_the_same_boxes_say(family):
    model = compact_detector(family)
    explain = build_comparison(model, ["odam", "gradcam"], ("score",))
    one = random_input(96, 128)
    boxes = given((96, 128), [[30, 10, 100, 80], [5, 5, 60, 70]], [1, 0])
    before, after = explain_with_noise(explain, one["image"], boxes, seed=3)
    for image, maps in ((one["image"], before), (noisy_image(one["image"], 3), after)):
        (alone,) = explain([{**one, "image": image}], [boxes])
        for method in ("odam", "gradcam"):
            assert torch.equal(maps[method].values, alone["heatmaps"][method].values)
    assert not torch.equal(before["odam"].values, after["odam"].values)


def test_boxes_that_are_gone_in_the_noisy_image_have_no_value():
    clean = entry()["image"]

    def explain(entries, instances):
        if not torch.equal(entries[0]["image"], clean):
            raise UnreachedBoxError("no query overlaps this box")
        return [output({"odam": [delta(0, 0), delta(3, 3)]})]

    found = output({"odam": [delta(0, 0), delta(3, 3)]})
    measured, _ = Measuring(("stability",), explain=explain).measure(record(), clean, found)
    assert measured["values"]["odam"]["stability"] == [None, None]


def test_measuring_says_who_must_explain():
    with pytest.raises(ValueError, match="`explain` must explain boxes again"):
        Measuring(("stability",))
