"""COCO files in Detectron2's catalogs: read as all others are, and of the detector's classes or refused."""

import json
import math

import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from PIL import Image

from odam_d2.data import register_coco
from odam_d2.data.records import records_from_dataset
from odam_d2.data.registration import require_fitting_classes

NAME = "test_registration"
SQUARE = [[1, 1, 9, 1, 9, 9, 1, 9]]


@pytest.fixture
def folder(tmp_path):
    """A file of all kinds of objects, with a grouping category, ids from 0, and its image."""
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    usual = {"image_id": 0, "category_id": 2, "bbox": [1, 1, 8, 8]}
    items = [
        {"segmentation": SQUARE},
        {"segmentation": {"size": [30, 40], "counts": [30, 60, 1110]}, "category_id": 1},
        {"segmentation": [[math.nan] * 6]},
        {"bbox": [math.nan, 1, 2, 3]},
        {"ignore": 1, "segmentation": SQUARE},
    ]
    groups = [{"id": 0, "name": "animals", "supercategory": "none"}]
    content = {
        "images": [{"id": 0, "file_name": "x\\a.png", "width": 40, "height": 30}],
        "categories": groups + [{"id": k, "name": n, "supercategory": "animals"} for k, n in ((1, "cat"), (2, "dog"))],
        "annotations": [{"id": k, **usual, **one} for k, one in enumerate(items)],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    yield tmp_path
    for name in (NAME, f"{NAME}_stock"):
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def test_records_for_training(folder, caplog):
    register_coco(NAME, folder / "a.json", folder)
    assert MetadataCatalog.get(NAME).evaluator_type == "coco"
    (record,) = DatasetCatalog.get(NAME)
    assert (record["file_name"], record["image_id"]) == (str(folder / "a.png"), 0)
    assert MetadataCatalog.get(NAME).thing_classes == ["cat", "dog"]
    assert MetadataCatalog.get(NAME).thing_dataset_id_to_contiguous_id == {1: 0, 2: 1}
    told = [
        (item["id"], item["category_id"], item["iscrowd"], "segmentation" in item) for item in record["annotations"]
    ]
    assert told == [(0, 1, 0, True), (1, 0, 0, True), (2, 1, 0, False), (4, 1, 1, True)]
    assert "left out: 1 annotation, the box is not finite" in caplog.text and "1 mask, a polygon" in caplog.text
    # Tools that read it by its name tell the same.
    account = type("Kept", (), {"take_over": lambda self, other: setattr(self, "found", other)})()
    records_from_dataset(NAME, ("dog", "cat"), 2, account)
    assert len(account.found.left_out) == 2


def test_detectron2s_mapper_takes_them(folder):
    register_coco(NAME, folder / "a.json", folder, masks=True)
    (record,) = DatasetCatalog.get(NAME)
    cfg = get_cfg()
    cfg.MODEL.MASK_ON, cfg.INPUT.MASK_FORMAT = True, "bitmask"
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (30,), "none"
    found = DatasetMapper(cfg, True)(record)["instances"]
    # Without the crowd, and without the object whose mask can't be used.
    assert found.gt_classes.tolist() == [1, 0]
    # Columns of 30 pixels: the second and third are full.
    assert found.gt_masks.tensor[1].nonzero()[:, 1].unique().tolist() == [1, 2]


def test_names_of_the_detector_decide(folder):
    register_coco(NAME, folder / "a.json", folder, ("dog", "bird", "cat"))
    assert MetadataCatalog.get(NAME).thing_classes == ["dog", "bird", "cat"]
    (record,) = DatasetCatalog.get(NAME)
    assert [item["category_id"] for item in record["annotations"]] == [0, 2, 0, 0]


def test_strict_registration(folder):
    register_coco(NAME, folder / "a.json", folder, strict=True)
    with pytest.raises(ValueError, match="--strict.*left out: 1 annotation"):
        DatasetCatalog.get(NAME)


@pytest.mark.parametrize("key, split", [("DATASETS.TRAIN", "train"), ("DATASETS.TEST", "test")])
def test_classes_of_data_sets_are_those_of_the_detector(folder, key, split):
    register_coco(NAME, folder / "a.json", folder)
    register_coco_instances(f"{NAME}_stock", {}, str(folder / "a.json"), str(folder))
    for name in (NAME, f"{NAME}_stock"):  # before either was read
        require_fitting_classes(key, split, (name,), 2)
        message = rf"`{key}` must .*; got '{name}' with 3 classes, \['animals', 'cat', 'dog'\], for a detector of 5"
        with pytest.raises(ValueError, match=message):
            require_fitting_classes(key, split, (name,), 5)
    with pytest.raises(ValueError, match=rf"`{key}` must .*'coco_2017_val' with 80 classes, \['person', .* of 3: name"):
        require_fitting_classes(key, split, ("synthetic_scene_val", "coco_2017_val"), 3)
    require_fitting_classes("DATASETS.TEST", "test", ("crowdhuman_val",), 3)  # people alone count
