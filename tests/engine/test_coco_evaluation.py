"""COCO's evaluation of files as people have them: nothing is lost by an id of 0, and nothing bad reaches it."""

import json
import math

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.structures import Boxes, Instances
from PIL import Image

from odam_d2.data import register_coco
from odam_d2.engine.coco_evaluation import RepairedCOCOEvaluator
from odam_d2.engine.evaluators import EVALUATORS

NAME = "test_coco_evaluation"
BOXES = {0: [2, 2, 20, 10], 1: [30, 5, 25, 30]}


@pytest.fixture
def registered(tmp_path):
    """Registers a file of two dogs and further annotations; gives its evaluator and its records."""

    def make(*further, register=register_coco, first=0, image_id=3, **change):
        Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
        usual = {"image_id": image_id, "category_id": 7, "iscrowd": 0}
        corners = {k: [[x, y, x + w, y, x + w, y + h, x, y + h]] for k, (x, y, w, h) in BOXES.items()}
        items = [
            {**usual, "id": first + k, "bbox": BOXES[k], "area": 0, "segmentation": corners[k], **change} for k in BOXES
        ]
        for item in items:
            item["area"] = item["bbox"][2] * item["bbox"][3]
        content = {
            "images": [{"id": image_id, "file_name": "a.png", "width": 60, "height": 40}],
            "categories": [{"id": 7, "name": "dog"}],
            "annotations": items + [{**usual, "id": 90 + k, "area": 6, **one} for k, one in enumerate(further)],
        }
        (tmp_path / "a.json").write_text(json.dumps(content))
        if register is register_coco:
            register(NAME, tmp_path / "a.json", tmp_path)
        else:
            register(NAME, {}, str(tmp_path / "a.json"), str(tmp_path))
        records = DatasetCatalog.get(NAME)
        return EVALUATORS["coco"](NAME, str(tmp_path / "out"), "toolkit"), records

    yield make
    if NAME in DatasetCatalog:
        DatasetCatalog.remove(NAME)
    for name in [one for one in MetadataCatalog.list() if one.startswith(NAME)]:
        MetadataCatalog.remove(name)


def figures(evaluator, record, masks=False) -> dict:
    """Of detections that are the two dogs exactly."""
    found = Instances((40, 60))
    found.pred_boxes = Boxes(torch.tensor([[x, y, x + w, y + h] for x, y, w, h in BOXES.values()], dtype=torch.float32))
    found.scores, found.pred_classes = torch.tensor([0.9, 0.8]), torch.zeros(2, dtype=torch.int64)
    if masks:
        found.pred_masks = torch.zeros(2, 40, 60, dtype=torch.bool)
        for row, (x, y, w, h) in enumerate(BOXES.values()):
            found.pred_masks[row, y : y + h, x : x + w] = True
    evaluator.reset()
    evaluator.process([record], [{"instances": found}])
    return evaluator.evaluate()


@pytest.mark.parametrize("register", [register_coco, register_coco_instances])
def test_an_object_of_id_zero_is_found(registered, register):
    evaluator, (record,) = registered(register=register)
    assert isinstance(evaluator, RepairedCOCOEvaluator)
    assert figures(evaluator, record)["bbox"]["AP"] == pytest.approx(100)


def test_a_file_that_is_used_as_it_is_goes_to_coco_as_it_is(registered, tmp_path):
    evaluator, (record,) = registered(first=1)
    assert not isinstance(evaluator, RepairedCOCOEvaluator)
    found = figures(evaluator, record, masks=True)
    assert found["bbox"]["AP"] == pytest.approx(100) and found["segm"]["AP"] == pytest.approx(100)
    assert not list((tmp_path / "out").glob("*as_read*"))


def test_what_would_end_the_process_is_left_out(registered):
    evaluator, (record,) = registered(
        {"bbox": [1, 1, 2, 3], "segmentation": [[math.nan] * 6], "iscrowd": 1},
        {"bbox": [1, 1, 2, 3], "segmentation": [[0, 0, 3e9, 3e9, 5, 5]], "iscrowd": 1},
        {"bbox": [1, 1, 2, 3], "segmentation": {"size": [40, 60], "counts": [10, 5]}, "iscrowd": 1},
        {"bbox": [math.nan] * 4},
        {"bbox": []},
    )
    found = figures(evaluator, record, masks=True)
    assert found["bbox"]["AP"] == pytest.approx(100) and found["segm"]["AP"] == pytest.approx(100)


def test_what_is_ignored_counts_for_nothing(registered):
    """A third dog, which nobody found, would halve recall; as a crowd it doesn't."""
    evaluator, (record,) = registered({"bbox": [1, 30, 9, 9], "ignore": "1"})
    assert figures(evaluator, record)["bbox"]["AP"] == pytest.approx(100)


def test_ids_of_images_as_text(registered):
    evaluator, (record,) = registered(image_id="3")
    assert record["image_id"] == 3
    assert figures(evaluator, record)["bbox"]["AP"] == pytest.approx(100)
    assert figures(evaluator, {**record, "image_id": "3"})["bbox"]["AP"] == pytest.approx(100)
