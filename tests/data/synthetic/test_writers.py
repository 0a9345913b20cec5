"""COCO json and CrowdHuman lines of a record that is written out by hand."""

import json

import cv2
import numpy as np
import pytest
from detectron2.data.datasets import load_coco_json
from detectron2.structures import BoxMode
from pycocotools import mask as mask_util
from pycocotools.coco import COCO

from odam_d2.data.synthetic.writers import encode_jpeg, mask_area, to_coco, to_odgt, write_images, xywh


def annotation(category, full, visible, head, ignore=0, fraction=0.5):
    """One object whose visible part fills its visible box in an image of 8 rows and 10 columns."""
    mask = np.zeros((8, 10), np.uint8, order="F")
    mask[visible[1] : visible[3], visible[0] : visible[2]] = 1
    counts = mask_util.encode(mask)["counts"].decode()
    return {
        "bbox": list(full),
        "bbox_mode": BoxMode.XYXY_ABS,
        "category_id": category,
        "segmentation": {"size": [8, 10], "counts": counts},
        "iscrowd": ignore,
        "full_box": list(full),
        "visible_box": list(visible),
        "head_box": head,
        "visible_fraction": fraction,
    }


@pytest.fixture
def record():
    return {
        "file_name": "street_7.jpg",
        "height": 8,
        "width": 10,
        "image_id": 7,
        "annotations": [
            annotation(0, [-2, 1, 4, 9], [0, 1, 3, 8], [0, 1, 2, 3]),
            annotation(1, [5, 5, 9, 8], [5, 5, 9, 8], None, fraction=1.0),
            annotation(0, [6, 0, 9, 2], [6, 0, 9, 2], None, ignore=1, fraction=1.0),
        ],
    }


def test_xywh():
    assert xywh([-2, 1, 4, 9]) == [-2, 1, 6, 8]


def test_coco_values(record):
    content = to_coco([record], ["person", "dog"])
    assert content["images"] == [{"id": 7, "file_name": "street_7.jpg", "height": 8, "width": 10}]
    assert [(c["id"], c["name"]) for c in content["categories"]] == [(1, "person"), (2, "dog")]
    first, second, third = content["annotations"]
    assert (first["id"], first["image_id"], first["category_id"], first["iscrowd"]) == (1, 7, 1, 0)
    assert first["bbox"] == [-2, 1, 6, 8]  # the full box, beyond the image on the left and below
    assert first["area"] == 21  # the visible 3 x 7 pixels
    assert (second["category_id"], second["area"]) == (2, 12)
    assert (third["iscrowd"], third["area"]) == (1, 6)


def test_odgt_values(record):
    (line,) = to_odgt([record], ["person", "dog"])
    assert line["ID"] == "street_7"
    person, region = line["gtboxes"]  # the dog is left out: the format knows people only
    assert person == {
        "tag": "person",
        "hbox": [0, 1, 2, 2],
        "head_attr": {"ignore": 0, "occ": 0, "unsure": 0},
        "fbox": [-2, 1, 6, 8],
        "vbox": [0, 1, 3, 7],
        "extra": {"box_id": 0, "occ": 1},
    }
    assert (region["tag"], region["extra"]) == ("mask", {"box_id": 1, "occ": 0, "ignore": 1})
    assert region["fbox"] == region["vbox"] == region["hbox"] == [6, 0, 3, 2]


def test_files_hold_what_went_in(record, tmp_path):
    image = np.full((8, 10, 3), 90, np.uint8)
    records = write_images([(encode_jpeg(image), record)], str(tmp_path), ["person", "dog"])
    assert records == [record]
    assert np.abs(cv2.imread(str(tmp_path / "images" / "street_7.jpg")).astype(int) - 90).max() <= 2
    lines = (tmp_path / "annotations.odgt").read_text().splitlines()
    assert [json.loads(line) for line in lines] == to_odgt([record], ["person", "dog"])


@pytest.mark.parametrize("name", ["../a.jpg", "a/b.jpg", "/a.jpg", "..", ""])
def test_file_names_of_other_folders_are_refused(record, tmp_path, name):
    with pytest.raises(ValueError, match="`file_name` must be the bare name of a file; got"):
        write_images([(b"", {**record, "file_name": name})], str(tmp_path / "out"), ["person", "dog"])
    assert list(tmp_path.rglob("*.jpg")) == []


def test_detectron2_reads_the_json_back(record, tmp_path):
    image = np.zeros((8, 10, 3), np.uint8)
    write_images([(encode_jpeg(image), record)], str(tmp_path), ["person", "dog"])
    (read,) = load_coco_json(str(tmp_path / "coco.json"), str(tmp_path / "images"), "test_writers_read_back")
    assert read["file_name"] == str(tmp_path / "images" / "street_7.jpg")
    assert (read["height"], read["width"], read["image_id"]) == (8, 10, 7)
    for found, expected in zip(read["annotations"], record["annotations"], strict=True):
        assert BoxMode.convert(found["bbox"], found["bbox_mode"], BoxMode.XYXY_ABS) == expected["bbox"]
        assert found["category_id"] == expected["category_id"]
        assert found["iscrowd"] == expected["iscrowd"]
        np.testing.assert_array_equal(
            mask_util.decode(found["segmentation"]), mask_util.decode(expected["segmentation"])
        )


def test_pycocotools_reads_the_json_back(record, tmp_path):
    write_images([(encode_jpeg(np.zeros((8, 10, 3), np.uint8)), record)], str(tmp_path), ["person", "dog"])
    coco = COCO(str(tmp_path / "coco.json"))
    person, dog, region = coco.loadAnns(coco.getAnnIds(imgIds=7))
    assert coco.annToMask(dog)[5:8, 5:9].all() and coco.annToMask(dog).sum() == 12
    assert coco.getAnnIds(iscrowd=True) == [region["id"]]
    assert coco.getAnnIds(catIds=[1], iscrowd=False) == [person["id"]]


def test_mask_area_counts_pixels(record):
    assert mask_area(record["annotations"][0]["segmentation"]) == 21.0


@pytest.mark.parametrize(
    "image", [np.zeros((0, 0, 3), np.uint8), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)]
)
def test_image_that_cannot_be_encoded_is_named(image):
    with pytest.raises(ValueError, match="`image` must be"):
        encode_jpeg(image)


def test_same_images_same_files(record, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (8, 10, 3), dtype=np.uint8)
    for folder in ("one", "two"):
        write_images([(encode_jpeg(image), record)], str(tmp_path / folder), ["person", "dog"])
    one, two = (
        {p.relative_to(f): p.read_bytes() for p in f.rglob("*.*")} for f in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two and len(one) == 3
