"""Registered data sets: rendered once, on first use, completely or not at all, and readable by Detectron2's tools."""

import json
from pathlib import Path

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, BoxMode, Instances
from pycocotools import mask as mask_util

from odam_d2.data.synthetic import catalog, folder
from odam_d2.data.synthetic.scenes import SyntheticScenes


@pytest.fixture
def register(tmp_path):
    """Registers small data sets in a folder of the test, and takes them out of the catalogs again."""
    names = []

    def add(profile, num_images):
        name = f"test_builtin_{profile}_{len(names)}"
        names.append(name)
        catalog.register_synthetic(name, profile, "val", str(tmp_path / name), num_images)
        return name, tmp_path / name

    yield add
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture
def render_alone(monkeypatch):
    """Renders in this process: quicker for one or two images, and its failures are plain ones."""
    monkeypatch.setattr(folder, "_WORKERS", 0)


def test_four_data_sets_are_registered():
    for profile, classes in (("scene", ["person", "dog", "car"]), ("crowd", ["person"])):
        for split in ("train", "val"):
            name = f"synthetic_{profile}_{split}"
            assert name in DatasetCatalog.list()
            metadata = MetadataCatalog.get(name)
            assert metadata.thing_classes == classes
            assert metadata.evaluator_type == {"scene": "coco", "crowd": "coco_and_crowd"}[profile]
            assert metadata.thing_dataset_id_to_contiguous_id == {k + 1: k for k in range(len(classes))}
            assert Path(metadata.json_file).parts[-3:] == ("synthetic", name, "coco.json")
    sizes = {(p, s): len(SyntheticScenes(p, s)) for p in ("scene", "crowd") for s in ("train", "val")}
    assert list(sizes.values()) == [1600, 200, 1200, 300]


def test_records_are_those_of_the_generator(register):
    name, folder = register("crowd", 3)  # by two worker processes
    assert not folder.exists()  # registering renders nothing
    records = DatasetCatalog.get(name)
    scenes = SyntheticScenes("crowd", "val", 3)
    assert len(records) == 3
    for index, record in enumerate(records):
        expected = scenes[index][1]
        assert record["file_name"] == str(folder / "images" / f"{name}_{index:06d}.jpg")
        assert Path(record["file_name"]).stat().st_size > 10_000
        assert [record[key] for key in ("height", "width", "image_id")] == [480, 640, index]
        assert record["annotations"] == expected["annotations"]
    lines = [json.loads(line) for line in (folder / "annotations.odgt").read_text().splitlines()]
    for line, record in zip(lines, records, strict=True):
        assert line["ID"] == Path(record["file_name"]).stem
        for box, annotation in zip(line["gtboxes"], record["annotations"], strict=True):
            x, y, w, h = box["fbox"]
            assert [x, y, x + w, y + h] == annotation["full_box"]
            assert (box["tag"] == "mask") == bool(annotation["iscrowd"])


def test_stock_mapper_takes_the_records(register, render_alone):
    name, _ = register("scene", 1)
    (record,) = DatasetCatalog.get(name)
    cfg = get_cfg()
    cfg.MODEL.MASK_ON = True
    cfg.INPUT.MASK_FORMAT = "bitmask"
    cfg.INPUT.MIN_SIZE_TEST = 480
    cfg.INPUT.MIN_SIZE_TRAIN = (480,)
    sample = DatasetMapper(cfg, is_train=True)(record)  # with a random flip
    kept = [a for a in record["annotations"] if not a["iscrowd"]]
    instances = sample["instances"]
    assert sorted(instances.gt_classes.tolist()) == sorted(a["category_id"] for a in kept)
    areas = sorted(mask_util.area(a["segmentation"]) for a in kept)
    assert sorted(instances.gt_masks.tensor.sum(dim=(1, 2)).tolist()) == areas


@pytest.mark.parametrize("profile", ["scene", "crowd"])
def test_stock_evaluator_gives_the_ground_truth_full_marks(register, render_alone, tmp_path, profile):
    name, _ = register(profile, 2)
    records = DatasetCatalog.get(name)
    evaluator = COCOEvaluator(name, tasks=("bbox",), output_dir=str(tmp_path / "out"), use_fast_impl=False)
    evaluator.reset()
    for record in records:
        kept = [a for a in record["annotations"] if not a["iscrowd"]]
        instances = Instances((record["height"], record["width"]))
        boxes = [BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in kept]
        instances.pred_boxes = Boxes(torch.tensor(boxes))
        instances.scores = torch.ones(len(kept))
        instances.pred_classes = torch.tensor([a["category_id"] for a in kept])
        evaluator.process([record], [{"instances": instances}])
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100)
