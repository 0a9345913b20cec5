"""Instances become rows of a run, and rows become instances."""

import pytest
import torch
from detectron2.structures import Boxes, Instances

from odam_d2.evaluation.runs.stored_rows import annotation_rows, detection_rows, stored_instances
from odam_d2.store import ImageRow, RunReader, RunWriter, StoredImage
from odam_d2.visualize.ground_truth import annotations_of
from tests.store.test_packing import random_maps

NAMES = ("cat", "dog")
BOXES = [[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 12.0], [50.0, 50.0, 60.0, 60.0], [0.0, 0.0, 10.0, 10.0]]


def found() -> Instances:
    """Two detections of one cat, one of nothing, and a dog where the cat is."""
    return Instances((140, 144), pred_boxes=Boxes(torch.tensor(BOXES)), scores=torch.tensor([0.9, 0.8, 0.7, 0.6]),
                     pred_classes=torch.tensor([0, 0, 0, 1]), heatmaps=random_maps(4, 1))  # fmt: skip


def truth() -> list:
    item = {"bbox": [0, 0, 10, 10], "bbox_mode": 1, "category_id": 0, "category": "cat", "id": 77}
    return annotations_of({"annotations": [item]}, NAMES)


def test_rows_have_what_the_instances_have():
    rows = detection_rows(found(), NAMES)
    assert [(row.label, row.box) for row in rows] == [
        (NAMES[k], tuple(b)) for k, b in zip([0, 0, 0, 1], BOXES, strict=True)
    ]
    unjudged = detection_rows(found(), NAMES, kind="annotation")
    assert {(row.verdict, row.iou, row.kind) for row in unjudged} == {(None, None, "annotation")}
    (row,) = annotation_rows(truth())
    assert (row.box, row.class_id, row.label, row.crowd, row.id) == ((0, 0, 10, 10), 0, "cat", False, 77)


def test_instances_come_back(tmp_path):
    instances = found()
    image = ImageRow(0, "a", "a", "a", (140, 144), (70, 72))
    with RunWriter(tmp_path) as writer:
        maps = {("odam", ""): (range(4), instances.heatmaps)}
        writer.write(StoredImage(image, None, detection_rows(instances, NAMES), maps))
        writer.write(StoredImage(ImageRow(1, "b", "b", "b", (140, 144), (70, 72))))
        writer.write(StoredImage(ImageRow(2, "c", "c", "c", failure="torn")))
    reader = RunReader(tmp_path)
    back = stored_instances(reader.image(0), "odam", NAMES)
    assert torch.equal(back.pred_boxes.tensor, instances.pred_boxes.tensor) and torch.equal(
        back.scores, instances.scores
    )
    assert torch.equal(back.pred_classes, instances.pred_classes) and back.heatmaps.class_names == NAMES
    torch.testing.assert_close(back.heatmaps.to_image("left"), instances.heatmaps.to_image("left"), atol=0.02, rtol=0)
    assert len(stored_instances(reader.image(1), "odam")) == 0
    with pytest.raises(ValueError, match="got one that failed: torn"):
        stored_instances(reader.image(2), "odam")
    with pytest.raises(ValueError, match=r"'drise' has 0: choose among \['odam'\]"):
        stored_instances(reader.image(0), "drise")
