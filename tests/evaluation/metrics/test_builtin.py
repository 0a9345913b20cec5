"""Each metric on a delta on the object, an even map, and a delta on the neighbour."""

import math

import pytest
import torch

from odam_d2.evaluation import METRICS, ExplainedObjects, TrueObjects
from tests.evaluation.scenes import UNIFORM, delta, heatmaps, record

PLAIN = [
    name
    for name, metric in METRICS.items()
    if not (metric.needs_detector or metric.needs_explainer) and name != "runtime"
]


def seen(*maps, objects=(0,), truth=None, **more):
    truth = truth or TrueObjects.of(record())
    return ExplainedObjects(
        heatmaps(*maps), "score", torch.tensor(objects, dtype=torch.int64), truth, torch.full((3, 4, 4), 100.0), **more
    )


@pytest.mark.parametrize(
    "name, on_object, even, on_neighbour",
    [
        ("pointing_box", 1, 0, 0),
        ("pointing_mask", 1, 0, 0),
        ("energy_box", 1, 0, 0),
        ("energy_mask", 1, 0, 0),
        # All heat in one pixel: 0. An even map normalises to zeros, which count as even heat with its maximum first:
        # the mean of y^2 + x^2 over 0 .. 3 is 2 * 14 / 4 = 7; in units of (2^2 + 2^2) / 4 = 2 that is 3.5.
        ("compactness", 0, math.sqrt(3.5), 0),
        ("vea", 1, 0, 0),
        ("odi_box", 0, 1, 1),
        ("odi_mask", 0, 1, 1),
        # One of 16 pixels: 1 - 2 * (16 - 16 + .5) / 16.
        ("sparsity", 1 - 1 / 16, 0, 1 - 1 / 16),
    ],
)
def test_values_worked_out_by_hand(name, on_object, even, on_neighbour):
    found = METRICS[name].measure(seen(delta(0, 0), UNIFORM, delta(3, 3), objects=(0, 0, 0)))
    assert found.tolist() == pytest.approx([on_object, even, on_neighbour])


def test_all_that_are_promised():
    promised = "pointing_box pointing_mask energy_box energy_mask compactness vea odi_box odi_mask sparsity runtime"
    assert set(METRICS) == {*promised.split(), "deletion", "insertion", "overall", "untouched", "stability"}
    assert [name for name, one in METRICS.items() if one.higher_is_better is False] == [
        "compactness", "odi_box", "odi_mask", "runtime", "deletion",
    ]  # fmt: skip
    assert all(metric.name == name for name, metric in METRICS.items())


@pytest.mark.parametrize("name", PLAIN)
def test_no_objects_have_no_values(name):
    assert METRICS[name].measure(seen(objects=())).shape == (0,)


@pytest.mark.parametrize("name", [name for name in PLAIN if METRICS[name].needs_masks])
def test_objects_without_a_mask_have_no_value(name):
    assert torch.isnan(METRICS[name].measure(seen(delta(0, 0), truth=TrueObjects.of(record(masks=False))))).all()


def test_a_lonely_object_has_no_neighbours():
    alone = TrueObjects.of(record(boxes=[[0.0, 0.0, 2.0, 2.0]]))
    assert torch.isnan(METRICS["odi_box"].measure(seen(delta(0, 0), truth=alone))).all()


def test_pairs_say_how_much_heat_strays():
    # Boxes [0, 2]^2 and [2, 4]^2: IoU 0, centres 2 sqrt(2) apart, the hull's diagonal 4 sqrt(2): DIoU -(8 / 32).
    pairs = METRICS["odi_box"].pairs(seen(delta(3, 3)))
    assert pairs.tolist() == [[0, 1, -0.25, 1]]


def test_runtime_is_what_was_measured():
    assert METRICS["runtime"].measure(seen(UNIFORM, UNIFORM, objects=(0, 1), seconds=0.5)).tolist() == [0.5, 0.5]
    assert torch.isnan(METRICS["runtime"].measure(seen(UNIFORM))).all()


def test_faithfulness_asks_for_the_object_at_the_size_of_the_model_input():
    asked = []

    def score(images, classes, boxes, *where):
        asked.append((classes.tolist(), boxes.tolist()))
        # 1 where the first pixel is the image's own, so deletion falls at once and insertion rises at once.
        rows = where[0] if where else torch.arange(len(images))
        return (images[rows, 0, 0, 0] == 100.0).float()

    one = seen(delta(0, 0), truth=TrueObjects.of(record()), score=score)
    one.image = torch.full((3, 8, 8), 100.0)
    # The curves are 1, 0, 0 .. and 0, 1, 1 ..; of ten equal steps the trapezoid rule gives half of one: .05 and .95.
    found = {name: float(METRICS[name].measure(one)) for name in ("deletion", "insertion", "overall", "untouched")}
    assert found == pytest.approx({"deletion": 0.05, "insertion": 0.95, "overall": 0.9, "untouched": 1.0})
    # The object's box in the image's 4 x 4 pixels, at twice the size.
    assert all(box == [0.0, 0.0, 4.0, 4.0] for _, boxes in asked for box in boxes)
    assert METRICS["deletion"].curves(one).shape == (1, len(METRICS["deletion"].axis[1]))


def test_faithfulness_needs_who_to_ask():
    with pytest.raises(ValueError, match="`score` must ask the detector"):
        METRICS["deletion"].measure(seen(delta(0, 0)))
