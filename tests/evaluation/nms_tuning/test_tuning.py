"""Grids of thresholds, and the best of them."""

import logging
import sys

import pytest
import torch
from detectron2.evaluation import DatasetEvaluator

from odam_d2.evaluation.nms_tuning.candidates import Candidates
from odam_d2.evaluation.nms_tuning.tuning import EvaluatorScore, Setting, best_rows, grid, score_settings
from tests.evaluation.nms_tuning.test_suppression import OUTPUT, crowd


def test_a_grid_has_every_combination_in_order_but_low_above_high():
    values = {"iou_threshold": (0.5, 0.6), "odam_nms.iou_threshold": (0.4,), "low": (0.2, 0.8), "high": (0.7, 0.9)}
    found = [(s.way, *s.thresholds.values()) for s in grid(("nms", "odam_nms"), values)]
    assert found == [
        ("nms", 0.5),
        ("nms", 0.6),
        ("odam_nms", 0.4, 0.2, 0.7),
        ("odam_nms", 0.4, 0.2, 0.9),
        ("odam_nms", 0.4, 0.8, 0.9),
    ]
    assert [s.thresholds for s in grid(("soft_gaussian",), {"sigma": (0.5,)})] == [{"sigma": 0.5}]


@pytest.mark.parametrize("way, thresholds", [("hard", {}), ("nms", {}), ("nms", {"iou_threshold": 0.5, "low": 0.1})])
def test_thresholds_that_a_way_does_not_have(way, thresholds):
    with pytest.raises(ValueError, match="`thresholds` must be those of a known way"):
        Setting(way, thresholds)


def test_every_setting_is_scored_on_the_same_candidates():
    seen = []

    def score(results):
        seen.append([(result["image_id"], len(result["instances"])) for result in results])
        return {"boxes": float(sum(len(result["instances"]) for result in results))}

    candidates = [Candidates.of(*crowd(seed=seed), OUTPUT) for seed in range(2)]
    settings = grid(("nms",), {"iou_threshold": (0.0, 0.5, 1.0)})
    rows = score_settings(settings, [{"image_id": 7}, {"image_id": 9}], candidates, score, most=30)
    assert [row["thresholds"]["iou_threshold"] for row in rows] == [0.0, 0.5, 1.0]
    # At 1.0 nothing overlaps, and thirty of forty count.
    assert seen[-1] == [(7, 30), (9, 30)] and rows[-1]["figures"] == {"boxes": 60.0}
    assert rows[0]["figures"]["boxes"] < rows[1]["figures"]["boxes"] <= 60


def test_the_best_row_of_each_way():
    rows = [
        {"way": "nms", "figures": {"JI": 1.0, "MR": 50.0}},
        {"way": "nms", "figures": {"JI": 2.0, "MR": 60.0}},
        {"way": "nms", "figures": {"JI": 2.0, "MR": 50.0}},
        {"way": "odam_nms", "figures": {"MR-heavy": 3.0}},
        {"way": "odam_nms", "figures": {"MR-heavy": 2.0}},
    ]
    assert best_rows(rows, "JI") == {"nms": rows[1]}
    assert best_rows(rows, "MR") == {"nms": rows[0]}
    assert best_rows(rows, "MR-heavy") == {"odam_nms": rows[4]}


class Counts(DatasetEvaluator):
    """Counts what it is shown, loudly."""

    def reset(self):
        self.seen = []

    def process(self, inputs, outputs):
        self.seen += [(one["image_id"], len(other["instances"])) for one, other in zip(inputs, outputs, strict=True)]

    def evaluate(self):
        print("loud")
        print("loud", file=sys.stderr)
        logging.getLogger("detectron2").warning("loud")
        return {
            "bbox": {"AP": float(sum(count for _, count in self.seen)), "AP-none": float("nan")},
            "segm": {"AP": 1.0},
        }


class Chosen(Counts):
    """One that has to be told."""

    def evaluate(self, img_ids=None):
        self.told = img_ids
        return super().evaluate()


@pytest.mark.parametrize("kind", [Counts, Chosen])
def test_an_evaluators_figures_for_boxes(kind, capsys, caplog):
    evaluator, found = kind(), crowd(5)[0]
    results = [{"image_id": 3, "instances": found}, {"image_id": 4, "instances": found[torch.zeros(5).bool()]}]
    score = EvaluatorScore(evaluator)
    with caplog.at_level(logging.INFO):
        assert score(results) == score(results) == {"AP": 5.0}
    assert evaluator.seen == [(3, 5), (4, 0)]
    assert getattr(evaluator, "told", [3, 4]) == [3, 4]
    logging.getLogger("detectron2").warning("heard again")
    printed = capsys.readouterr()
    assert "loud" not in printed.out + printed.err + caplog.text and "heard again" in caplog.text
