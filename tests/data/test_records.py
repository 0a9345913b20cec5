"""Records of the catalog are judged value by value as those of files are."""

import math

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from odam_d2.data.account import Account
from odam_d2.data.records import JudgedRecords, judged_records, load_dataset, records_from_dataset
from odam_d2.data.registration import judged_dataset

SQUARE = [[1, 1, 5, 1, 5, 5, 1, 5]]
GOOD = {"id": 1, "bbox": [1, 1, 5, 5], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "iscrowd": 0}


def record(*items):
    return {"file_name": "a.png", "image_id": 7, "height": 8, "width": 9, "annotations": list(items)}


@pytest.fixture
def dataset():
    found = [record(GOOD, {**GOOD, "id": 2, "bbox": [math.nan, 1, 2, 3]}), record(GOOD)]
    DatasetCatalog.register("test_records", lambda: found)
    MetadataCatalog.get("test_records").thing_classes = ["dog"]
    yield found
    DatasetCatalog.remove("test_records")
    MetadataCatalog.remove("test_records")


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"bbox": [1, 1, math.nan, 5]}, "the box is not finite"),
        ({"bbox": [1, 1, 1, 5]}, "the box has no size"),
        ({"bbox": [5, 5, 1, 1]}, "the box has no size"),
        ({"bbox": [1, 1, 0, 5], "bbox_mode": BoxMode.XYWH_ABS}, "the box has no size"),
        ({"bbox": [20, 1, 30, 5]}, "the box lies outside of the image"),
        ({"bbox": [1, 1, 5]}, "the box must be 4 numbers"),
        ({"bbox": [1, 1, 5, 5], "bbox_mode": BoxMode.XYWHA_ABS}, "the box must be 5 numbers"),
        ({"bbox": None}, "`bbox` is missing"),
        ({"iscrowd": "many"}, "`iscrowd` is neither 0 nor 1"),
    ],
)
def test_what_is_left_out(change, reason):
    account, bad = Account("x"), {**GOOD, "id": 2, **change}
    (judged,) = judged_records([record(bad, GOOD)], account)
    assert judged["annotations"] == [GOOD] and judged["annotations"][0] is GOOD
    (left_out,) = account.left_out
    assert (left_out.kind, left_out.name, left_out.image, left_out.reason) == ("annotation", 2, "a.png", reason)
    assert account.count("annotation") == {"all": 2, "as_they_are": 1, "repaired": 0, "left_out": 1}


@pytest.mark.parametrize(
    "change, kept, repaired",
    [
        ({"iscrowd": False}, {"iscrowd": 0}, "annotation"),
        ({"bbox": ["1", 1, 5, 5]}, {"bbox": [1.0, 1.0, 5.0, 5.0]}, "annotation"),
        ({"segmentation": SQUARE[0]}, {"segmentation": SQUARE}, "mask"),
        ({"segmentation": SQUARE}, {"segmentation": SQUARE}, None),
        ({"segmentation": []}, {"segmentation": []}, None),
        ({"bbox": [4, 4, 3, 3, 30], "bbox_mode": BoxMode.XYWHA_ABS}, {}, None),
    ],
)
def test_what_is_kept(change, kept, repaired):
    account, given = Account("x"), {**GOOD, **change, "keypoints": [1, 2, 2]}
    before = dict(given)
    (judged,) = judged_records([record(given)], account)
    assert judged["annotations"] == [{**before, **kept}] and given == before
    assert [kind for kind in ("annotation", "mask") if account.count(kind)["repaired"]] == ([repaired] * bool(repaired))


def test_a_bad_mask_costs_no_box():
    account = Account("x")
    (judged,) = judged_records([record({**GOOD, "segmentation": [[math.nan] * 6]})], account)
    assert judged["annotations"] == [GOOD] and [one.kind for one in account.left_out] == ["mask"]


def test_records_without_annotations_stay():
    given = {"file_name": "a.png", "image_id": 7}
    assert judged_records([given], Account("x")) == [given]


def test_a_data_set_of_the_catalog(dataset, caplog):
    account = Account("test_records")
    found = records_from_dataset("test_records", ("cat", "dog"), 2, account)
    assert [[item["category_id"] for item in one["annotations"]] for one in found] == [[1], [1]]
    assert account.count("annotation") == {"all": 3, "as_they_are": 2, "repaired": 0, "left_out": 1}
    assert account.count("image")["all"] == 2
    assert [len(one["annotations"]) for one in judged_dataset("test_records")] == [1, 1]
    assert "left out: 1 annotation, the box is not finite" in caplog.text
    with pytest.raises(ValueError, match="`dataset` must be registered; got 'nothing'"):
        load_dataset("nothing")


def test_records_that_were_judged_bring_their_account():
    first, second = Account("a.json"), Account("name")
    first.notes.append("A note.")
    records = JudgedRecords([record({**GOOD, "bbox": None})], first)
    assert judged_records(records, second) is records
    assert second.notes == ["A note."] and second.file == "name (a.json)"
