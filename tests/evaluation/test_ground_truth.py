"""COCO files with all that they may hold, and categories that fit or don't."""

import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from pycocotools import mask as mask_util

from odam_d2.evaluation import TrueObjects, records_from_coco, records_from_dataset


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


def truth_of(tmp_path, *annotations):
    return TrueObjects.of(records_from_coco(coco(tmp_path, annotations), tmp_path, ("cat", "dog"), 2)[0])


def test_what_does_not_count_is_left_out_and_counted(tmp_path):
    crowd = {"iscrowd": 1, "segmentation": {"size": [4, 6], "counts": [0, 24]}}
    truth = truth_of(tmp_path, crowd, {"ignore": 1}, {"bbox": [0, 0, 0, 3]}, {"bbox": [1.5, 1, 2, 2]})
    assert truth.dropped == {"crowd": 1, "ignored": 1, "empty": 1}
    assert truth.ids == [3] and truth.boxes.tolist() == [[1.5, 1, 3.5, 3]] and truth.classes.tolist() == [1]
    assert truth.size == (4, 6)


def test_masks_of_every_kind(tmp_path):
    expected = np.zeros((4, 6), dtype=bool)
    expected[1:3, 1:3] = True
    packed = mask_util.encode(np.asfortranarray(expected.astype(np.uint8)))
    packed["counts"] = packed["counts"].decode("ascii")
    # Columns of 4: one empty, then twice 1 empty 2 full 1 empty.
    lengths = {"size": [4, 6], "counts": [5, 2, 2, 2, 13]}
    polygon = [[1, 1, 3, 1, 3, 3, 1, 3]]
    kinds = [{"segmentation": one} for one in (packed, lengths, polygon)]
    # The last is a triangle between pixels: nothing is left of it.
    truth = truth_of(tmp_path, *kinds, {}, {"segmentation": []}, {"segmentation": [[1, 1, 1.2, 1, 1.2, 1.2]]})
    assert truth.has_mask.tolist() == [True, True, True, False, False, False]
    for number in range(3):
        assert (truth.masks[number].numpy() == expected).all()
    assert not truth.masks[3:].any()
    assert (truth.inside_boxes[0].numpy() == expected).all()


@pytest.mark.parametrize(
    "segmentation, message",
    [
        ({"size": [3, 6], "counts": [0, 18]}, "must be of the image's size 6 x 4; got 6 x 3"),
        ("what", "must be COCO's polygons or run lengths"),
    ],
)
def test_masks_that_can_not_be_used(tmp_path, segmentation, message):
    with pytest.raises(ValueError, match=message):
        _ = truth_of(tmp_path, {"segmentation": segmentation}).masks


def test_a_image_without_annotations(tmp_path):
    truth = TrueObjects.of(records_from_coco(coco(tmp_path, []), tmp_path, None, 2)[1])
    assert truth.boxes.shape == (0, 4) and truth.masks.shape == (0, 4, 6) and truth.has_mask.shape == (0,)


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
    one = {"image_id": 1, "annotations": [{"category_id": 1}]}
    cat = {"image_id": 2, "annotations": [{"category_id": 0}]}
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
