"""Verdicts in the rows of a run."""

import pytest
import torch
from detectron2.structures import Boxes, Instances

from odam_d2.analysis import label_errors
from odam_d2.analysis.stored_verdicts import with_verdicts
from odam_d2.evaluation.runs.stored_rows import annotation_rows, detection_rows
from odam_d2.visualize.ground_truth import annotations_of

NAMES = ("cat", "dog")


def test_each_verdict_names_the_annotation_that_it_is_about():
    items = [
        {"bbox": [80, 80, 20, 20], "bbox_mode": 1, "category_id": 0, "category": "cat", "id": 5, "iscrowd": 1},
        {"bbox": [0, 0, 10, 10], "bbox_mode": 1, "category_id": 0, "category": "cat"},
    ]
    record = {"image_id": 1, "file_name": "a", "height": 100, "width": 100, "annotations": items}
    boxes = [[0, 0, 10, 10], [0, 0, 10, 12], [50, 50, 60, 60], [0, 0, 10, 10], [82, 82, 92, 92], [0, 0, 10, 4]]
    found = Instances((100, 100), pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32)),
                      scores=torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]),
                      pred_classes=torch.tensor([0, 0, 0, 1, 0, 0]))  # fmt: skip
    annotations = annotation_rows(annotations_of(record, NAMES))
    rows = with_verdicts(detection_rows(found, NAMES), label_errors(found, record), annotations)
    assert [row.verdict for row in rows] == [
        "correct", "duplicate", "background", "classification", "ignored", "localisation",
    ]  # fmt: skip
    # The crowd is the first annotation, and the object without an id is known by its place.
    assert [row.annotation for row in rows] == [1, 1, None, 1, 0, 1] and annotations[1].id == 1
    assert [row.iou for row in rows] == [1.0, pytest.approx(100 / 120), 0.0, 1.0, None, pytest.approx(0.4)]
    assert [row.score for row in rows] == found.scores.tolist()


def test_an_image_without_objects_and_one_without_detections():
    record = {"image_id": 1, "file_name": "a", "height": 9, "width": 9, "annotations": []}
    none = Instances((9, 9), pred_boxes=Boxes(torch.zeros(0, 4)), scores=torch.zeros(0),
                     pred_classes=torch.zeros(0, dtype=torch.int64))  # fmt: skip
    assert with_verdicts([], label_errors(none, record), []) == []
    one = Instances((9, 9), pred_boxes=Boxes(torch.ones(1, 4) * torch.tensor([0, 0, 5, 5])), scores=torch.ones(1),
                    pred_classes=torch.zeros(1, dtype=torch.int64))  # fmt: skip
    (row,) = with_verdicts(detection_rows(one, NAMES), label_errors(one, record), [])
    assert (row.verdict, row.annotation, row.iou) == ("background", None, 0.0)
