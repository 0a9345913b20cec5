"""CrowdHuman's format: what a line says by hand, what the synthetic writer wrote, and lines that are broken."""

import json
import logging

import numpy as np
import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog
from detectron2.structures import BoxMode
from PIL import Image

from odam_d2.data import crowdhuman
from odam_d2.data.crowdhuman import load_crowdhuman, read_odgt, register_crowdhuman
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
    assert "2 annotations" in caplog.text
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


GOOD = json.dumps({"ID": "good", "gtboxes": [], "width": 8, "height": 8})
BAD = {
    '{"ID": "a", "gtboxes": [': r"is no JSON \(.* at character 25\)",
    b"\xff\xfe": "is no UTF-8",
    "[1, 2]": "is no JSON object",
    '{"gtboxes": []}': r"has no text `ID` \(got None\)",
    '{"ID": 3, "gtboxes": []}': r"has no text `ID` \(got 3\)",
    '{"ID": "a"}': r"has no list `gtboxes` \(got NoneType\)",
    '{"ID": "a", "gtboxes": [5]}': "has no object as its box 0",
    '{"ID": "a", "gtboxes": [{"fbox": [1, 2, 3], "vbox": [1, 2, 3, 4]}]}': "has no four finite numbers as `fbox`",
    '{"ID": "a", "gtboxes": [{"fbox": [1, 2, 3, 4], "vbox": [1, 2, 3, NaN]}]}': "as `vbox` of box 0",
    '{"ID": "a", "gtboxes": [{"fbox": [1, 2, 3, 4], "vbox": [1, 2, 3, 4], "hbox": null}]}': "as `hbox` of box 0",
    '{"ID": "a", "gtboxes": [{"fbox": [1, 2, 3, 4], "vbox": [1, 2, 3, 4], "extra": 0}]}': "as `extra` or `head_attr`",
    '{"ID": "good", "gtboxes": []}': "repeats the `ID` 'good' of line 1",
    '{"ID": "gone", "gtboxes": []}': r"has no readable image \('.*gone\.jpg': No such file or directory\)",
}  # fmt: skip


@pytest.mark.parametrize("line, reason", BAD.items())
def test_a_bad_line_is_named_or_left_out(tmp_path, caplog, line, reason):
    odgt = tmp_path / "x.odgt"
    odgt.write_bytes(GOOD.encode() + b"\n\n" + (line if isinstance(line, bytes) else line.encode()) + b"\n")
    with pytest.raises(ValueError, match=r"`odgt` must hold .*; line 3 of '.*x\.odgt' .*" + reason):
        load_crowdhuman(odgt, tmp_path)
    (record,) = load_crowdhuman(odgt, tmp_path, skip_bad=True)
    assert record["image_id"] == "good"
    assert "Left out 1 bad lines" in caplog.text
    content = read_odgt(odgt, tmp_path, skip_bad=True)
    assert content.lines == [1] and len(content.bad) == 1 and content.bad[0].startswith("line 3 of ")


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


def test_what_is_registered(tmp_path):
    for name, box in (("crowdhuman", "full"), ("crowdhuman_visible", "visible")):
        for split in ("train", "val"):
            metadata = MetadataCatalog.get(f"{name}_{split}")
            assert f"{name}_{split}" in DatasetCatalog.list()
            assert metadata.odgt_file.endswith(f"crowdhuman/annotation_{split}.odgt")
            assert metadata.image_root.endswith("crowdhuman/Images") and metadata.box == box
    assert {"synthetic_crowd_train_odgt", "synthetic_crowd_val_odgt"} <= set(DatasetCatalog.list())
    register_crowdhuman("test_crowdhuman_late", tmp_path / "none.odgt", tmp_path)  # reads nothing as yet
    with pytest.raises(ValueError, match="No such file"):
        DatasetCatalog.get("test_crowdhuman_late")
    DatasetCatalog.remove("test_crowdhuman_late")
    MetadataCatalog.remove("test_crowdhuman_late")
