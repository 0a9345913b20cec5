"""Records as a COCO file that pycocotools evaluates safely."""

import json

import pytest
from detectron2.structures import BoxMode
from pycocotools.coco import COCO

from odam_d2.data.coco_writer import coco_content

SQUARE = [[1, 1, 5, 1, 5, 3, 1, 3]]


def test_what_is_written(tmp_path):
    usual = {"bbox": [1, 1, 4, 2], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1}
    items = [
        {**usual, "id": 0, "segmentation": SQUARE},
        {**usual, "id": 0, "area": 7.5, "iscrowd": 1},
        {**usual, "ignore": 1, "bbox": [1, 1, 5, 3], "bbox_mode": BoxMode.XYXY_ABS},
    ]
    records = [
        {"image_id": "a", "file_name": "a.png", "height": 6, "width": 8, "annotations": items},
        {"image_id": 0, "file_name": "b.png", "annotations": [{**usual, "id": 5}]},
    ]
    (tmp_path / "a.json").write_text(json.dumps(coco_content(records, ("cat", "dog"))))
    coco = COCO(str(tmp_path / "a.json"))
    found = coco.loadAnns(coco.getAnnIds())
    assert [one["id"] for one in found] == [1, 2, 3, 4]  # never 0, never twice
    assert [one["image_id"] for one in found] == ["a", "a", "a", 0]
    assert [one["iscrowd"] for one in found] == [0, 1, 1, 0] and {one["category_id"] for one in found} == {2}
    assert all(one["bbox"] == [1, 1, 4, 2] for one in found)
    assert [one["area"] for one in found] == pytest.approx([8, 7.5, 8, 8])
    assert [int(coco.annToMask(one).sum()) for one in found[:3]] == [8, 0, 0]
    assert [one["name"] for one in coco.loadCats([1, 2])] == ["cat", "dog"]
