"""CrowdHuman's format: what a line says by hand, what the synthetic writer wrote, and lines that are broken."""

import json
import logging
import math

import numpy as np
import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog
from detectron2.structures import BoxMode
from PIL import Image

from odam_d2.data import crowdhuman
from odam_d2.data.account import Account
from odam_d2.data.crowdhuman import load_crowdhuman, read_odgt, register_crowdhuman
from odam_d2.data.records import judged_records
from odam_d2.data.synthetic import catalog
from odam_d2.data.synthetic import folder as synthetic_folder


def person(full, visible=None, tag="person", head=(1, 2, 3, 4), head_attr=None, **extra):
    """A box as CrowdHuman writes it; `full`, `visible` and `head` are x, y, width, height."""
    return {
        "tag": tag,
        "hbox": list(head),
        "head_attr": {"ignore": 0, "occ": 0, "unsure": 0} if head_attr is None else head_attr,
        "fbox": list(full),
        "vbox": list(visible or full),
        "extra": extra,
    }


@pytest.fixture
def folder(tmp_path):
    """Writes lines and images: `folder({"a": [boxes], ...})` gives (odgt, image root)."""

    def write(lines, size=(30, 20)):
        images = tmp_path / "Images"
        images.mkdir(exist_ok=True)
        text = []
        for ident, boxes in lines.items():
            Image.new("RGB", size).save(images / f"{ident}.jpg")
            text.append(json.dumps({"ID": ident, "gtboxes": boxes}))
        (tmp_path / "annotation.odgt").write_text("\n".join(text) + "\n")
        return tmp_path / "annotation.odgt", images

    return write


def test_a_line_by_hand(folder):
    boxes = [
        person([-5, 2, 10, 30], [0, 2, 5, 18], box_id=7, occ=1),  # the feet are below the image, 20 pixels high
        person([1, 1, 4, 4], ignore=1, box_id=8),
        person([2, 2, 6, 6], tag="mask", head_attr={}, ignore=1, box_id=9),
        person([3, 3, 6, 6], head_attr={"ignore": 1, "occ": 0, "unsure": 0}),  # only the head is to be ignored
        person([3, 3, 6, 6], tag="mask"),
    ]
    odgt, images = folder({"273271,c9db000d5146c15": boxes})
    (record,) = load_crowdhuman(odgt, images)
    assert record["file_name"] == str(images / "273271,c9db000d5146c15.jpg")
    assert (record["image_id"], record["height"], record["width"]) == ("273271,c9db000d5146c15", 20, 30)
    first = record["annotations"][0]
    assert first == {
        "bbox": [-5, 2, 5, 32],
        "bbox_mode": BoxMode.XYXY_ABS,
        "category_id": 0,
        "iscrowd": 0,
        "full_box": [-5, 2, 5, 32],
        "visible_box": [0, 2, 5, 20],
        "head_box": [1, 2, 4, 6],
        "head_ignore": 0,
        "box_id": 7,
    }
    assert [item["iscrowd"] for item in record["annotations"]] == [0, 1, 1, 0, 1]
    assert [item["head_ignore"] for item in record["annotations"]] == [0, 1, 1, 1, 1]
    assert [item["box_id"] for item in record["annotations"]] == [7, 8, 9, 3, 4]  # without one, the number in the line


def test_visible_boxes_and_boxes_without_a_size(folder, caplog):
    boxes = [person([0, 0, 9, 9], [1, 1, 3, 3]), person([0, 0, 9, 9], [1, 1, 0, 3]), person([0, 0, -2, 9])]
    odgt, images = folder({"a": boxes})
    (whole,) = load_crowdhuman(odgt, images)
    assert [item["bbox"] for item in whole["annotations"]] == [[0, 0, 9, 9]] * 2
    with caplog.at_level(logging.INFO):
        (seen,) = load_crowdhuman(odgt, images, box="visible")
    assert [item["bbox"] for item in seen["annotations"]] == [[1, 1, 4, 4]]
    assert "left out: 2 annotations, the box has no size, e.g. annotation 'box 1 of line 1' of image 'a'" in caplog.text
    with pytest.raises(ValueError, match=r"`box` must be one of .*; got 'head'"):
        load_crowdhuman(odgt, images, box="head")


def test_what_is_not_required_may_be_missing(folder):
    odgt, images = folder({"a": [{"tag": "person", "fbox": [0, 0, 4, 4], "vbox": [0, 0, 2, 2]}], "b": []})
    one, none = load_crowdhuman(odgt, images)
    (item,) = one["annotations"]
    assert (item["head_box"], item["iscrowd"], item["box_id"]) == (None, 0, 0)
    assert none["annotations"] == []


def test_sizes_are_read_once_and_again_where_a_image_changed(folder, monkeypatch):
    odgt, images = folder({"a": [], "b": []})
    assert [record["width"] for record in load_crowdhuman(odgt, images)] == [30, 30]
    kept = odgt.with_name("annotation.sizes.json")
    assert json.loads(kept.read_text())["a"] == [20, 30, (images / "a.jpg").stat().st_size]
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)).save(images / "b.jpg")
    read = []
    real = crowdhuman.image_sizes.__globals__["read_image_size"]
    monkeypatch.setitem(
        crowdhuman.image_sizes.__globals__, "read_image_size", lambda path: read.append(path) or real(path)
    )
    assert [(r["height"], r["width"]) for r in load_crowdhuman(odgt, images)] == [(20, 30), (12, 16)]
    assert read == [str(images / "b.jpg")]
    kept.write_text("[1, 2")  # not what was written: as good as none
    assert [record["width"] for record in load_crowdhuman(odgt, images)] == [30, 16]


def test_sizes_of_the_line_go_before_and_need_no_image(tmp_path):
    line = {"ID": "a", "gtboxes": [], "width": 7, "height": 5}
    (tmp_path / "x.odgt").write_text(json.dumps(line))
    (record,) = load_crowdhuman(tmp_path / "x.odgt", tmp_path)
    assert (record["height"], record["width"]) == (5, 7)
    assert not (tmp_path / "x.sizes.json").exists()


def test_a_image_on_its_side_has_the_size_that_the_mapper_sees(folder):
    odgt, images = folder({"a": [person([0, 0, 9, 9])]})
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (30, 20)).save(images / "a.jpg", exif=exif)
    (record,) = load_crowdhuman(odgt, images)
    assert (record["height"], record["width"]) == (30, 20)
    DatasetMapper(get_cfg(), is_train=False)(record)  # raises where sizes differ


SIZE = {"width": 8, "height": 8}
GOOD = json.dumps({"ID": "good", "gtboxes": [], **SIZE})
BAD = {
    '{"ID": "a", "gtboxes": [': r"is no JSON but ends in the middle \(.* at character 25\)",
    '{"ID": "a", "gtbo': "is no JSON but ends in the middle",
    '{"ID": "a"; "gtboxes": []}': r"is no JSON \(.* at character 11\)",
    b"\xff\xfe": "is no UTF-8",
    "[1, 2]": "is no JSON object",
    "[" * 100_000: "is nested too deeply",
    '{"gtboxes": []}': r"has no text `ID` \(got None\)",
    '{"ID": 3.5, "gtboxes": []}': r"has no text `ID` \(got 3.5\)",
    '{"ID": "a\\u0000", "gtboxes": []}': "has an `ID` with a character that no file name can have",
    '{"ID": "\\ud800", "gtboxes": []}': "has an `ID` with a character that no file name can have",
    '{"ID": "a"}': r"has no list `gtboxes` \(got NoneType\)",
    '{"ID": "good", "gtboxes": []}': r"repeats the `ID` of another line \('good' of line 1\)",
    '{"ID": "gone", "gtboxes": []}': r"has no readable image \('.*gone\.jpg': No such file or directory\)",
}  # fmt: skip


@pytest.mark.parametrize("line, reason", BAD.items())
def test_a_bad_line_is_left_out_and_named_or_an_error(tmp_path, caplog, line, reason):
    odgt = tmp_path / "x.odgt"
    odgt.write_bytes(GOOD.encode() + b"\n\n" + (line if isinstance(line, bytes) else line.encode()) + b"\n")
    with pytest.raises(ValueError, match=r"`odgt` must hold .*; line 3 of '.*x\.odgt' .*" + reason):
        load_crowdhuman(odgt, tmp_path, skip_bad=False)
    with caplog.at_level(logging.WARNING):
        (record,) = load_crowdhuman(odgt, tmp_path)
    assert record["image_id"] == "good"
    assert "left out: 1 image, " in caplog.text
    content = read_odgt(odgt, tmp_path)
    assert content.lines == [1] and len(content.bad) == 1 and content.bad[0].startswith("line 3 of ")
    assert content.account.count("image") == {"all": 2, "as_they_are": 1, "repaired": 0, "left_out": 1}


def read_boxes(tmp_path, *boxes, box="full", **line):
    """What becomes of a line with these boxes: (records, account)."""
    (tmp_path / "x.odgt").write_text(json.dumps({"ID": "a", "gtboxes": boxes, **SIZE, **line}))
    content = read_odgt(tmp_path / "x.odgt", tmp_path, box)
    return content.records, content.account


WHOLE = person([1, 2, 3, 4])
UNUSABLE = {
    "no object": (5, "the entry is no object"),
    "missing": ({"tag": "person", "vbox": [1, 2, 3, 4]}, "`fbox` is missing"),
    "null": ({**WHOLE, "fbox": None}, "`fbox` is missing"),
    "short": ({**WHOLE, "fbox": [1, 2, 3]}, "`fbox` must be four numbers"),
    "NaN": ({**WHOLE, "fbox": [1, 2, 3, math.nan]}, "`fbox` is not finite"),
    "no number": ({**WHOLE, "fbox": [1, 2, 3, "wide"]}, "`fbox` is no number"),
    "a number": ({**WHOLE, "fbox": 7}, "`fbox` is no list of numbers"),
    "negative": ({**WHOLE, "fbox": [5, 5, -3, 4]}, "the box has no size"),
    "flat": ({**WHOLE, "fbox": [5, 5, 3, 0]}, "the box has no size"),
    "far": ({**WHOLE, "fbox": [5, 5, 1e300, 4]}, "`fbox` lies absurdly far away"),
    "ignore": ({**WHOLE, "extra": {"ignore": "perhaps"}}, "`extra.ignore` is neither 0 nor 1"),
}


@pytest.mark.parametrize("item, reason", UNUSABLE.values(), ids=list(UNUSABLE))
def test_a_box_that_cannot_be_used_is_left_out_and_its_image_stays(tmp_path, item, reason):
    (record,), account = read_boxes(tmp_path, WHOLE, item, WHOLE)
    assert [one["box_id"] for one in record["annotations"]] == [0, 2]
    assert account.count("annotation") == {"all": 3, "as_they_are": 2, "repaired": 0, "left_out": 1}
    (left_out,) = account.left_out
    assert (left_out.name, left_out.image, left_out.reason) == ("box 1 of line 1", "a", reason)


REPAIRED = {
    "null hbox": ({"hbox": None}, {"head_box": None}, False),
    "null head_attr": ({"head_attr": None}, {"head_ignore": 0}, False),
    "null extra": ({"extra": None}, {"iscrowd": 0, "box_id": 0}, False),
    "ignore '0'": ({"extra": {"ignore": "0"}}, {"iscrowd": 0}, True),
    "ignore '1'": ({"extra": {"ignore": "1"}}, {"iscrowd": 1}, True),
    "ignore false": ({"extra": {"ignore": False}}, {"iscrowd": 0}, True),
    "ignore null": ({"extra": {"ignore": None}}, {"iscrowd": 0}, True),
    "ignore 2": ({"extra": {"ignore": 2}}, {"iscrowd": 1}, True),
    "text": ({"fbox": ["1", " 2", "3.0", "4e0"]}, {"full_box": [1, 2, 4, 6]}, True),
    "extra is no object": ({"extra": 0}, {"iscrowd": 0}, True),
    "head_attr is no object": ({"head_attr": []}, {"head_ignore": 0}, True),
    "head ignored '0'": ({"head_attr": {"ignore": "0"}}, {"head_ignore": 0}, True),
    "head ignored perhaps": ({"head_attr": {"ignore": "perhaps"}}, {"head_ignore": 1, "iscrowd": 0}, True),
    "bad head": ({"hbox": [1, 2, math.nan, 4]}, {"head_box": None}, True),
    "bad visible box": ({"vbox": [1, 2]}, {"visible_box": [1, 2, 4, 6]}, True),
    "negative visible box": ({"vbox": [1, 2, -1, 2]}, {"visible_box": [1, 2, 4, 6]}, True),
    "no visible box": ({"vbox": None}, {"visible_box": [1, 2, 4, 6]}, True),
    "hidden altogether": ({"vbox": [1, 2, 0, 0]}, {"visible_box": [1, 2, 1, 2]}, False),
    "box_id as text": ({"extra": {"box_id": "7"}}, {"box_id": 7}, True),
    "box_id of nothing": ({"extra": {"box_id": [7]}}, {"box_id": 0}, True),
}


@pytest.mark.parametrize("changes, expected, repaired", REPAIRED.values(), ids=list(REPAIRED))
def test_what_can_be_understood_is_repaired_and_counted(tmp_path, changes, expected, repaired):
    (record,), account = read_boxes(tmp_path, {**WHOLE, **changes})
    (item,) = record["annotations"]
    assert {key: item[key] for key in expected} == expected
    assert item["bbox"] == item["full_box"] == [1, 2, 4, 6]
    assert account.count("annotation") == {
        "all": 1, "as_they_are": int(not repaired), "repaired": int(repaired), "left_out": 0,
    }  # fmt: skip


def test_tools_have_the_account_and_boxes_in_their_images(tmp_path):
    """`--strict` and run.json go by it; people beyond the image are for figures of crowds alone."""
    boxes = [WHOLE, person([9, 2, 3, 4]), person([6, 2, 9, 4]), {**WHOLE, "fbox": None}]
    (tmp_path / "x.odgt").write_text(json.dumps({"ID": "a", "gtboxes": boxes, **SIZE}))
    records, account = load_crowdhuman(tmp_path / "x.odgt", tmp_path), Account("mine")
    (record,) = judged_records(records, account)
    assert [item["box_id"] for item in record["annotations"]] == [0, 2]
    assert [item["box_id"] for item in records[0]["annotations"]] == [0, 1, 2]
    assert account.count("annotation") == {"all": 4, "as_they_are": 3, "repaired": 0, "left_out": 1}
    assert account.notes == ["Not used, outside of their images: 1 boxes; figures of crowds ask for them."]
    with pytest.raises(ValueError, match="`--strict` must find every annotation .* `fbox` is missing"):
        account.require_nothing_lost()


def test_a_visible_box_that_is_to_be_found_is_not_made_up(tmp_path):
    (record,), account = read_boxes(tmp_path, {**WHOLE, "vbox": None}, WHOLE, box="visible")
    assert len(record["annotations"]) == 1 and account.count("annotation")["left_out"] == 1


def test_other_tags_are_ignore_regions_and_named(tmp_path, caplog):
    boxes = [{**WHOLE, "tag": tag} for tag in ("person", "mask", "crowd", "crowd", "Person", 3, ["person"])]
    boxes.append({key: value for key, value in WHOLE.items() if key != "tag"})
    (record,), account = read_boxes(tmp_path, *boxes)
    assert [item["iscrowd"] for item in record["annotations"]] == [0, 1, 1, 1, 1, 1, 1, 1]
    (note,) = account.notes
    assert note == (
        "Taken as ignore regions, as in CrowdHuman's toolkit, for their tag: 'crowd' (2), 'Person' (1), 3 (1), "
        "['person'] (1), no tag (1)."
    )
    with caplog.at_level(logging.INFO):
        load_crowdhuman(tmp_path / "x.odgt", tmp_path)
    assert note in caplog.text


def test_lines_that_can_be_understood(tmp_path):
    (record,), account = read_boxes(tmp_path, WHOLE, ID=27, width="30", height=20.0)
    assert (record["image_id"], record["height"], record["width"]) == ("27", 20, 30)
    assert record["file_name"] == str(tmp_path / "27.jpg")
    assert account.count("image") == {"all": 1, "as_they_are": 0, "repaired": 1, "left_out": 0}
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg")
    (record,), account = read_boxes(tmp_path, WHOLE, width=0)
    assert (record["height"], record["width"]) == (20, 30) and account.count("image")["repaired"] == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n\n"])
def test_byte_order_marks_and_blank_lines(tmp_path, encoding, end):
    lines = [json.dumps({"ID": ident, "gtboxes": [WHOLE], **SIZE}, ensure_ascii=False) for ident in ("\u4eba", "b")]
    (tmp_path / "x.odgt").write_bytes(("\r\n  \r\n".join(lines) + end).encode(encoding))
    content = read_odgt(tmp_path / "x.odgt", tmp_path)
    assert [record["image_id"] for record in content.records] == ["\u4eba", "b"] and content.lines == [1, 3]
    assert content.account.count("image")["as_they_are"] == 2 and not content.bad


def test_a_missing_file_says_where_it_belongs(tmp_path):
    with pytest.raises(ValueError, match=r"`odgt` must be .*No such file or directory; datasets/README.md"):
        load_crowdhuman(tmp_path / "x.odgt", tmp_path)


def test_a_folder_that_cannot_be_written_to_only_costs_time(folder, monkeypatch, caplog):
    odgt, images = folder({"a": []})

    def refuse(path, text):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setitem(crowdhuman.image_sizes.__globals__, "write_text", refuse)
    assert load_crowdhuman(odgt, images)[0]["width"] == 30
    assert "Permission denied" in caplog.text


@pytest.fixture
def registered(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic_folder, "_WORKERS", 0)
    names = ["test_crowdhuman_source", "test_crowdhuman_odgt"]
    catalog.register_synthetic(names[0], "crowd", "val", str(tmp_path / names[0]), 2)
    catalog.register_synthetic_odgt(names[1], names[0])
    yield names
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_reads_what_the_synthetic_writer_wrote(registered):
    source, odgt = registered
    read = DatasetCatalog.get(odgt)  # renders by itself
    for record, expected in zip(read, DatasetCatalog.get(source), strict=True):
        for key in ("file_name", "height", "width"):
            assert record[key] == expected[key]
        assert f"{record['image_id']}.jpg" == expected["file_name"].rpartition("/")[2]
        for number, (item, other) in enumerate(zip(record["annotations"], expected["annotations"], strict=True)):
            for key in ("bbox", "bbox_mode", "category_id", "iscrowd", "full_box", "visible_box"):
                assert item[key] == other[key]
            assert item["box_id"] == number
            # The format has a head for everything: a group of people far away gets its whole box.
            assert item["head_box"] == (other["head_box"] or other["full_box"])
            assert item["head_ignore"] == item["iscrowd"]
    assert sum(item["iscrowd"] for record in read for item in record["annotations"]) > 0
    # Whole bodies reach beyond the image, and stay so.
    assert any(item["full_box"][3] > 480 or item["full_box"][0] < 0 for r in read for item in r["annotations"])
    metadata = MetadataCatalog.get(odgt)
    assert (metadata.evaluator_type, metadata.thing_classes, metadata.box) == ("crowdhuman", ["person"], "full")


def test_the_same_people_by_what_is_visible_of_them(registered):
    source, odgt = registered
    name = f"{odgt}_visible"
    catalog.register_synthetic_odgt(name, source, "visible")
    try:
        whole, seen = DatasetCatalog.get(odgt), DatasetCatalog.get(name)
        for record, other in zip(whole, seen, strict=True):
            for item, found in zip(record["annotations"], other["annotations"], strict=True):
                assert found["visible_box"] == item["visible_box"] and found["full_box"] == item["full_box"]
                if not item["iscrowd"]:
                    assert found["bbox"] == item["visible_box"]
        assert MetadataCatalog.get(name).box == "visible"
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_what_is_registered(tmp_path):
    for split in ("train", "val"):
        for name, box in (("crowdhuman", "full"), ("crowdhuman_visible", "visible")):
            metadata = MetadataCatalog.get(f"{name}_{split}")
            assert f"{name}_{split}" in DatasetCatalog.list()
            assert metadata.odgt_file.endswith(f"crowdhuman/annotation_{split}.odgt")
            assert metadata.image_root.endswith("crowdhuman/Images") and metadata.box == box
        for infix, box in (("", "full"), ("visible_", "visible")):
            name = f"synthetic_crowd_{infix}{split}_odgt"
            assert name in DatasetCatalog.list() and MetadataCatalog.get(name).box == box
    register_crowdhuman("test_crowdhuman_late", tmp_path / "none.odgt", tmp_path)  # reads nothing as yet
    with pytest.raises(ValueError, match="No such file"):
        DatasetCatalog.get("test_crowdhuman_late")
    DatasetCatalog.remove("test_crowdhuman_late")
    MetadataCatalog.remove("test_crowdhuman_late")
