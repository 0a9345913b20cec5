"""The table of a crowd by the strict protocol against plain loops, subset by subset (toolkit: test_protocol.py)."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from odam_d2.evaluation.crowd import table as tables
from tests.evaluation.crowds import DETECTIONS, SCORES, objects_of, plain_people, plain_table, random_image, record

crowd_table = partial(tables.crowd_table, protocol="strict")


def test_five_detections_by_hand():
    row = crowd_table([(DETECTIONS, SCORES)], objects_of(record()))["all"]
    assert row == {
        "objects": 3,
        "AP": pytest.approx(100 * 5 / 9),
        "recall": pytest.approx(100 * 2 / 3),
        "MR": pytest.approx(100 * (2 / 3) ** (8 / 9) * (1 / 3) ** (1 / 9)),
        "JI": 50.0,
        "JI_score": 0.4,
    }


@pytest.mark.parametrize("seed", range(12))
def test_equals_plain_loops_on_random_images(seed):
    rng = np.random.default_rng(seed)
    samples = [random_image(rng, k) for k in range(rng.integers(1, 12))]
    images = [sample[0] for sample in samples]
    detections = [(found.tolist(), scores.tolist()) for _, found, scores in samples]
    table = crowd_table(detections, objects_of(*images))
    assert list(table) == ["all", "bare", "partial", "heavy", "crowd_bare", "crowd_partial", "crowd_heavy"]
    for subset, row in table.items():
        expected = plain_table(images, detections, subset)
        assert {key: row[key] for key in expected} == pytest.approx(expected, nan_ok=True), subset


def test_subsets_add_up():
    rng = np.random.default_rng(3)
    images = [random_image(rng)[0] for _ in range(30)]
    objects = objects_of(*images)
    table = crowd_table([(np.zeros((0, 4)), [])] * 30, objects)
    counts = {name: row["objects"] for name, row in table.items()}
    assert counts["all"] == sum(bool(mine) for image in images for mine in plain_people(image)[2]) > 30
    assert counts["bare"] + counts["partial"] + counts["heavy"] == counts["all"]
    assert counts["crowd_bare"] + counts["crowd_partial"] + counts["crowd_heavy"] == counts["all"]
    assert min(counts.values()) > 0
    assert {row["MR"] for row in table.values()} == {100.0} and {row["JI"] for row in table.values()} == {0.0}


def test_tensors_some_subsets_and_none():
    detections = [(torch.tensor(DETECTIONS), torch.tensor(SCORES, dtype=torch.float64))]
    table = crowd_table(detections, objects_of(record()), subsets=["all", "crowd_heavy"])
    assert table["all"]["JI"] == 50.0
    assert table["crowd_heavy"]["objects"] == 0 and math.isnan(table["crowd_heavy"]["AP"])
    assert math.isnan(table["crowd_heavy"]["recall"]) and table["crowd_heavy"]["JI_score"] is None
    with pytest.raises(ValueError, match="`detections` must be of as many images as `objects`, 1; got 2"):
        crowd_table(detections * 2, objects_of(record()))
