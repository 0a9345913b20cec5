"""Ways held against each other: which pairs there are, and their figures against those of the evaluator."""

import re

import numpy as np
import pytest
import torch

from odam_d2.evaluation.crowd.objects import CrowdObjects
from odam_d2.evaluation.crowd.table import crowd_table
from odam_d2.evaluation.nms_tuning.candidates import Candidates
from odam_d2.evaluation.nms_tuning.differences import compare_settings, differences_table
from odam_d2.evaluation.nms_tuning.suppression import suppress
from odam_d2.evaluation.nms_tuning.tuning import Setting
from tests.evaluation.crowds import record
from tests.evaluation.nms_tuning.test_suppression import OUTPUT, THRESHOLDS, crowd

WAYS = ("nms", "soft_gaussian", "odam_nms", "odam_soft")


@pytest.fixture(scope="module")
def case():
    candidates = [Candidates.of(*crowd(20, seed), OUTPUT) for seed in range(4)]
    people = []
    for one in candidates:
        boxes = (one.boxes[one.classes == 0][::3] * 2).tolist()
        # Half of them hidden: who is seen to less than .65 counts as heavily hidden.
        pairs = [(box, [*box[:3], box[1] + (box[3] - box[1]) * (0.5 if k % 2 else 1)]) for k, box in enumerate(boxes)]
        people.append(CrowdObjects.of(record(pairs, [], OUTPUT)))
    settings = [Setting(way, THRESHOLDS[way], "chosen") for way in WAYS]
    settings.append(Setting("nms", {"iou_threshold": 0.6}, "published"))
    return settings, candidates, people


def test_pairs_and_figures(case):
    settings, candidates, people = case
    rows = compare_settings(settings, candidates, people, 10, "strict", resamplings=40)
    # The published NMS has no published way by maps to be held against.
    assert [(row["way"], row["rival"]) for row in rows] == [
        (way, rival) for way in ("odam_nms", "odam_soft") for rival in ("nms", "soft_gaussian")
    ]
    tables = {}
    for way in WAYS:
        kept = [suppress(one, way, THRESHOLDS[way], 10) for one in candidates]
        kept = [one[one.pred_classes == 0] for one in kept]
        found = [(one.pred_boxes.tensor.double().numpy(), one.scores.double().numpy()) for one in kept]
        tables[way] = crowd_table(found, people, protocol="strict")
    for row in rows:
        for one in row["differences"]:
            mine, theirs = (tables[row[side]][one["subset"]][one["figure"]] for side in ("way", "rival"))
            assert one["value"] == pytest.approx(mine - theirs, nan_ok=True)
    assert len({tuple(one["value"] for one in row["differences"]) for row in rows}) == len(rows)


def test_the_table_says_where_zero_is_outside():
    differences = [
        {"subset": "all", "figure": figure, "value": 1.0, "interval": (-1.0, 2.0), "verdict": "open"}
        for figure in ("AP", "recall", "MR", "JI")
    ] + [{"subset": s, "figure": f, "value": -1.25, "interval": (-2.0, -1.0), "verdict": "worse"}
         for s in ("heavy", "crowd_heavy") for f in ("recall", "JI")]  # fmt: skip
    text = differences_table([{"way": "odam_nms", "rival": "nms", "origin": "chosen", "differences": differences}])
    header, _, line = text.splitlines()
    assert [cell.strip() for cell in header.split("|")[1:-1]][3:] == [
        "AP", "recall", "MR", "JI", "recall-heavy", "JI-heavy", "recall-crowd_heavy", "JI-crowd_heavy",
    ]  # fmt: skip
    assert line.count("+1.00 [-1.00, +2.00]") == 4 and line.count("**-1.25 [-2.00, -1.00]**") == 4
    assert not re.search(r"\*\*\+1", line)


def test_nobody(case):
    settings, _, _ = case
    nothing = Candidates.of(*crowd(0), OUTPUT)
    empty = CrowdObjects.of(record([], [], OUTPUT))
    rows = compare_settings(settings, [nothing], [empty], 10, "toolkit", resamplings=3)
    assert all(np.isnan(one["value"]) and one["verdict"] == "open" for row in rows for one in row["differences"])
    assert torch.numel(nothing.scores) == 0 and "nan" in differences_table(rows)
