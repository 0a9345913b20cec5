"""tools/research/draw_suppression.py: what two ways disagree on, by hand; and a run of tools/tune_nms.py, drawn."""

import json

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, BoxMode, Instances

from tests.cli.test_tune_nms import dataset, tool, tuned  # noqa: F401  (fixtures)
from tests.helpers import load_tool


@pytest.fixture(scope="module")
def drawing():
    return load_tool("research/draw_suppression")


def item(box, number, crowd=0):
    return {"bbox": list(box), "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "iscrowd": crowd, "id": number}


RECORD = {
    "image_id": 5, "file_name": "a", "height": 100, "width": 300,
    "annotations": [item((0, 0, 40, 80), 1), item((30, 0, 70, 80), 2), item((200, 0, 290, 90), 3, crowd=1)],
}  # fmt: skip


def detections(*rows):
    table = torch.tensor(rows, dtype=torch.float32).view(-1, 5)
    found = Instances((100, 300), pred_boxes=Boxes(table[:, :4]), scores=table[:, 4])
    found.pred_classes = torch.zeros(len(table), dtype=torch.int64)
    return found


LEFT, RIGHT = (0, 0, 40, 80, 0.9), (30, 0, 70, 80, 0.8)


def told(drawing, own, rival):
    return [(d.words, d.won, d.score, d.box.tolist()) for d in drawing.differences(7, RECORD, own, rival)]


def test_a_neighbour_that_the_rival_lost(drawing):
    found = told(drawing, detections(LEFT, RIGHT), detections(LEFT))
    assert found == [("found", True, pytest.approx(0.8), [30.0, 0.0, 70.0, 80.0])]


def test_a_neighbour_that_it_lost_itself(drawing):
    assert [one[:2] for one in told(drawing, detections(LEFT), detections(LEFT, RIGHT))] == [("lost", False)]


def test_boxes_on_nothing_new_are_superfluous_unless_the_rival_has_them_or_a_crowd_is_there(drawing):
    double, in_crowd = (2, 0, 40, 70, 0.6), (210, 10, 250, 80, 0.5)
    own = detections(LEFT, RIGHT, double, in_crowd)
    found = told(drawing, own, detections(LEFT, RIGHT))
    assert found == [("superfluous", False, pytest.approx(0.6), [2.0, 0.0, 40.0, 70.0])]
    assert told(drawing, own, detections(LEFT, RIGHT, double)) == []


def test_nothing_detected(drawing):
    assert told(drawing, detections(), detections()) == []
    assert [one[0] for one in told(drawing, detections(LEFT), detections())] == ["found"]


def test_the_surest_of_each_image(drawing):
    def one(number, score, won=True):
        return drawing.Difference(number, np.zeros(4), "found", won, score)

    found = drawing.surest([one(1, 0.5), one(1, 0.7), one(2, 0.6), one(3, 0.9, won=False)], True, 5)
    assert [(d.number, d.score) for d in found] == [(1, 0.7), (2, 0.6)]
    assert len(drawing.surest([one(1, 0.5), one(2, 0.7)], True, 1)) == 1


def test_a_run_is_drawn(tuned, drawing, tmp_path, capsys):  # noqa: F811
    # NMS at .5 beside Odam-NMS, which drops boxes by other rules: they differ in a score of candidates above .05.
    path = tmp_path / "drawn.jpg"
    assert drawing.main([str(tuned), "--score-threshold", "0.05", "--output", str(path)]) == 0, capsys.readouterr().err
    assert cv2.imread(str(path)).std() > 10 and "odam_nms beside nms: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--rival", "odam_nms"], "`--rival` must be another way than --way"),
        (["--score-threshold", "2"], "must differ somewhere"),
    ],
)
def test_errors(tuned, drawing, tmp_path, capsys, more, message):  # noqa: F811
    assert drawing.main([str(tuned), *more, "--output", str(tmp_path / "none.jpg")]) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "none.jpg").exists()


def test_an_unfinished_run_and_a_way_that_was_not_tried(drawing, tmp_path, capsys):
    assert drawing.main([str(tmp_path), "--output", str(tmp_path / "none.jpg")]) == 1
    assert "without grid.json" in capsys.readouterr().err
    (tmp_path / "grid.json").write_text(json.dumps({"rows": [{"way": "nms", "origin": "published", "thresholds": {}}]}))
    assert drawing.main([str(tmp_path), "--output", str(tmp_path / "none.jpg")]) == 1
    assert "must be of the run's; got odam_nms" in capsys.readouterr().err
