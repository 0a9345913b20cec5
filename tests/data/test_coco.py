"""One reader of annotations: COCO files with all that they may hold, categories that fit or not, both of its users."""

import json

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.structures import BoxMode
from PIL import Image

from odam_d2.data.boxes import corners
from odam_d2.data.coco import CocoFile, category_names, records_from_coco
from odam_d2.data.records import records_from_dataset
from odam_d2.evaluation import TrueObjects
from odam_d2.visualize.ground_truth import annotations_of, to_instances


def coco(tmp_path, annotations, names=("cat", "dog")):
    size = {"height": 4, "width": 6}
    usual = {"image_id": 5, "category_id": 5, "bbox": [1, 1, 2, 2]}
    content = {
        "images": [{"id": 5, "file_name": "b.png", **size}, {"id": 2, "file_name": "a.png", **size}],
        "categories": [{"id": 3 + 2 * k, "name": name} for k, name in enumerate(names)],
        "annotations": [{"id": k, **usual, **one} for k, one in enumerate(annotations)],
    }
    file = tmp_path / "coco.json"
    file.write_text(json.dumps(content))
    return file


def named(tmp_path, images, annotations=(), categories=((7, "dog"), (3, "cat"))):
    """A file of images by their names."""
    content = {
        "images": [{"id": k, **image} for k, image in enumerate(images)],
        "annotations": list(annotations),
        "categories": [{"id": number, "name": name} for number, name in categories],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    return tmp_path / "a.json"


def test_reports_and_metrics_know_the_same_objects(tmp_path):
    """Crowds, what is ignored, boxes of no size, ids that don't begin at 0, an image without annotations, folders."""
    box = [1.1, 1.3, 2.7, 2.2]
    items = [
        {"image_id": 5, "category_id": 9, "bbox": box},
        {"image_id": 5, "category_id": 4, "bbox": [0, 0, 2, 2], "iscrowd": 0, "ignore": 0},
        {"image_id": 5, "category_id": 4, "bbox": box, "iscrowd": 1},
        {"image_id": 5, "category_id": 4, "bbox": box, "ignore": 1},
        {"image_id": 5, "category_id": 4, "bbox": [1, 1, 0, 2]},
        {"image_id": 5, "category_id": 4, "bbox": [1, 1, 2, -2]},
        {"image_id": 8, "category_id": 4, "bbox": [3, 0, 3, 4]},
    ]
    content = {
        "images": [
            {"id": 8, "file_name": "b/x.png", "height": 4, "width": 6},
            {"id": 5, "file_name": "a/x.png", "height": 4, "width": 6},
            {"id": 6, "file_name": "c/x.png", "height": 4, "width": 6},
        ],
        "categories": [{"id": 9, "name": "dog"}, {"id": 0, "name": "animals"}, {"id": 4, "name": "cat"}],
        "annotations": [{"id": 70 + k, **one} for k, one in enumerate(items)],
    }
    (tmp_path / "tricky.json").write_text(json.dumps(content))
    file = CocoFile(tmp_path / "tricky.json", None, 2)
    for record in records_from_coco(tmp_path / "tricky.json", tmp_path, None, 2):
        truth = TrueObjects.of(record)
        own = file.find(record["file_name"], 4, 6)
        assert own is not None and own["image_id"] == record["image_id"]
        shown = annotations_of(own, file.class_names)
        explained = to_instances(shown, 4, 6)
        assert torch.equal(explained.gt_boxes.tensor, truth.boxes)
        assert torch.equal(explained.gt_classes, truth.classes)
        assert [one.label for one in shown if not one.crowd] == [file.class_names[k] for k in truth.classes.tolist()]
        assert sum(one.crowd for one in shown) == truth.dropped["crowd"] + truth.dropped["ignored"]
    assert [len(record["annotations"]) for record in file.records] == [1, 4, 0]
    assert file.account.count("annotation") == {"all": 7, "as_they_are": 5, "repaired": 0, "left_out": 2}
    five = TrueObjects.of(file.records[1])
    assert five.ids == [70, 71] and five.classes.tolist() == [1, 0]
    assert five.dropped == {"crowd": 1, "ignored": 1, "empty": 0}  # the reader left out what is empty
    # Detectron2 adds corner and side in single precision: 1.1 + 2.7 and 1.3 + 2.2.
    torch.testing.assert_close(five.boxes, torch.tensor([[1.1, 1.3, 3.8, 3.5], [0.0, 0.0, 2.0, 2.0]]))


def test_classes_are_numbered_by_rising_id(tmp_path):
    item = {"image_id": 0, "bbox": [1, 2, 10, 20], "category_id": 7, "iscrowd": 1}
    path = named(tmp_path, [{"file_name": "x.jpg", "height": 50, "width": 60}], [item])
    annotations = CocoFile(path)
    assert annotations.class_names == ("cat", "dog")  # ids 3 and 7
    record = annotations.find("anywhere/x.jpg", 50, 60)
    assert record == {"file_name": "x.jpg", "image_id": 0, "height": 50, "width": 60, "annotations": [
        {"iscrowd": 1, "bbox": [1.0, 2.0, 10.0, 20.0], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1}
    ]}  # fmt: skip
    assert corners(record["annotations"][0]) == (1.0, 2.0, 11.0, 22.0)
    assert annotations.find("y.jpg", 50, 60) is None


def test_the_detectors_own_names_come_first(tmp_path):
    items = [{"image_id": 0, "bbox": [0, 0, 1, 1], "category_id": c} for c in (3, 7)]
    annotations = CocoFile(named(tmp_path, [{"file_name": "x.jpg"}], items), ["bird", "dog"])
    found = annotations.find("x.jpg", 5, 5)["annotations"]
    assert [(a["category_id"], a.get("category")) for a in found] == [(-1, "cat"), (1, None)]
    assert annotations.class_names == ("bird", "dog") and annotations.strangers == ["cat"]


def test_folders_tell_images_of_one_name_apart(tmp_path):
    items = [{"image_id": k, "bbox": [k, 0, 1, 1], "category_id": 3} for k in range(2)]
    annotations = CocoFile(named(tmp_path, [{"file_name": "a/x.jpg"}, {"file_name": "b/x.jpg"}], items))
    assert annotations.find("root/b/x.jpg", 5, 5)["annotations"][0]["bbox"][0] == 1.0
    with pytest.raises(ValueError, match=r"name an image once; got \['a/x\.jpg', 'b/x\.jpg'\] for 'root/c/x\.jpg'"):
        annotations.find("root/c/x.jpg", 5, 5)


def test_another_size_is_refused(tmp_path):
    annotations = CocoFile(named(tmp_path, [{"file_name": "x.jpg", "height": 50, "width": 60}]))
    with pytest.raises(ValueError, match="annotated size of 60 x 50; got 50 x 60 for 'x.jpg'"):
        annotations.find("x.jpg", 60, 50)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"images": [], "annotations": {"bbox": 1}, "categories": []}'])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=r"must be a json file in the COCO format; got '.*a\.json': ."):
        CocoFile(tmp_path / "a.json")
    with pytest.raises(ValueError, match="No such file"):
        CocoFile(tmp_path / "b.json")


def test_categories_are_found_by_name_or_by_rising_id(tmp_path):
    file = coco(tmp_path, [{}])
    assert records_from_coco(file, tmp_path, ("dog", "mouse", "cat"), 3)[0]["annotations"][0]["category_id"] == 0
    assert records_from_coco(file, tmp_path, None, 2)[0]["annotations"][0]["category_id"] == 1


@pytest.mark.parametrize("names, number, known", [(("dog",), 1, r"\['dog'\]"), (None, 80, "80 classes without names")])
def test_other_categories_are_an_error_with_both_lists(tmp_path, names, number, known):
    with pytest.raises(ValueError, match=rf"\['cat', 'dog'\], the detector {known}"):
        records_from_coco(coco(tmp_path, [{"category_id": 3}]), tmp_path, names, number)


def test_a_category_without_objects_is_no_hindrance_where_names_are_known(tmp_path):
    (record, _) = records_from_coco(coco(tmp_path, [{"category_id": 5}]), tmp_path, ("dog",), 1)
    assert record["annotations"][0]["category_id"] == 0


@pytest.mark.parametrize("names", [("cat", "dog", "mouse"), ("dog",)])
def test_names_of_another_number_of_classes_are_an_error(tmp_path, names):
    message = rf"`class_names` must .*; got {len(names)} names, \['.*dog'.*\], for 2 classes: .* DATASETS.TEST"
    with pytest.raises(ValueError, match=message):
        records_from_coco(coco(tmp_path, []), tmp_path, names, 2)
    with pytest.raises(ValueError, match=message):
        records_from_dataset("synthetic_scene_val", names, 2)


def test_what_is_no_coco_file(tmp_path):
    (tmp_path / "other.json").write_text('{"images": []}')
    with pytest.raises(ValueError, match="json file in the COCO format; got .*'categories' is missing"):
        records_from_coco(tmp_path / "other.json", tmp_path, None, 1)


def test_a_data_set_that_nobody_registered():
    with pytest.raises(ValueError, match="`dataset` must be registered; got 'nothing'"):
        records_from_dataset("nothing", None, 3)


def test_a_registered_file_with_objects_to_ignore(tmp_path):
    """Detectron2 can't read it; here it can be given as it is."""
    file = coco(tmp_path, [{"ignore": 1, "segmentation": [[1, 1, 3, 1, 3, 3]]}])
    register_coco_instances("with_ignored", {}, str(file), str(tmp_path))
    try:
        message = "got 'with_ignored', which failed with AssertionError: .*not supported.*: .*--annotations and"
        with pytest.raises(ValueError, match=message):
            records_from_dataset("with_ignored", ("cat", "dog"), 2)
    finally:
        DatasetCatalog.remove("with_ignored")
        MetadataCatalog.remove("with_ignored")
    assert TrueObjects.of(records_from_coco(file, tmp_path, ("cat", "dog"), 2)[0]).dropped["ignored"] == 1


def test_classes_of_a_registered_data_set():
    one = {"image_id": 1, "annotations": [{"category_id": 1, "bbox": [0, 0, 1, 1]}]}
    cat = {"image_id": 2, "annotations": [{"category_id": 0, "bbox": [0, 0, 1, 1]}]}
    records = [one]
    DatasetCatalog.register("two_classes", lambda: records)
    try:
        assert records_from_dataset("two_classes", ("dog",), 1) == [one]  # it doesn't tell its classes
        MetadataCatalog.get("two_classes").thing_classes = ["cat", "dog"]
        found = records_from_dataset("two_classes", ("dog", "mouse", "cat"), 3)
        assert found[0]["annotations"][0]["category_id"] == 0
        records.append(cat)
        with pytest.raises(ValueError, match=r"\['cat', 'dog'\], the detector \['dog'\] and so no class for 'cat'"):
            records_from_dataset("two_classes", ("dog",), 1)
    finally:
        DatasetCatalog.remove("two_classes")
        MetadataCatalog.remove("two_classes")


@pytest.mark.parametrize(
    "change, reason",
    [
        (
            {"images": [{"id": 1, "file_name": "x"}, {"id": 1, "file_name": "y"}]},
            "images have the id 1: 'x' and 'y'",
        ),
        (
            {"images": [{"id": 1, "file_name": "x", "height": 3, "width": 4}, {"id": "1", "file_name": "x"}]},
            "two images have the id 1: 'x' of 4 x 3 and 'x'",
        ),
        (
            {"images": [{"id": 1, "file_name": "a/x"}, {"id": 2, "file_name": "a\\x"}]},
            r"images 1 and 2 both have the file name 'a\\\\x'",
        ),
        ({"categories": [{"id": 3, "name": "a"}, {"id": 3, "name": "b"}]}, "categories have the id 3: 'a' and 'b'"),
        (
            {"categories": [{"id": 3}]},
            "category number 1 of the file must have .* a name, but `name` is missing",
        ),
    ],
)
def test_a_file_that_contradicts_itself(tmp_path, change, reason):
    content = {"images": [{"id": 1, "file_name": "x"}], "categories": [{"id": 3, "name": "cat"}], **change}
    usual = {"image_id": 1, "category_id": 3, "bbox": [0, 0, 1, 1]}
    content["annotations"] = [{**usual, **one} for one in change.get("annotations", ())]
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"in the COCO format; got '.*a.json': .*{reason}"):
        CocoFile(tmp_path / "a.json")


def test_sizes_that_the_file_lacks_are_those_of_the_image(tmp_path):
    file = named(tmp_path, [{"file_name": "x.jpg", "height": 5}, {"file_name": "gone.jpg"}])
    Image.new("RGB", (9, 5)).save(tmp_path / "x.jpg")
    assert CocoFile(file).find("x.jpg", 5, 9) is not None
    read = CocoFile(file, None, 2, tmp_path)
    assert [(one["height"], one["width"]) for one in read.known_records()] == [(5, 9)]
    assert read.account.count("image") == {"all": 2, "as_they_are": 0, "repaired": 1, "left_out": 1}
    assert str(read.account.left_out[0]) == "image 1" and "can't be read" in read.account.left_out[0].reason


def test_names_of_categories(tmp_path):
    assert category_names(named(tmp_path, [])) == ("cat", "dog") and category_names(tmp_path / "gone.json") == ()
