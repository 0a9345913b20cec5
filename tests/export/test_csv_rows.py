"""The table of a run, read back by the standard library."""

import csv
import json

from odam_d2.export import CsvRows
from odam_d2.store import RunReader, RunWriter
from odam_d2.store.filters import Filter
from tests.export.runs import write_run


def exported(folder, chosen=Filter()):  # noqa: B008
    with RunReader(folder / "run") as reader:
        written = CsvRows(reader, chosen).write(folder / "a.csv")
        every = reader.detections(chosen)
    with (folder / "a.csv").open(encoding="utf-8", newline="") as file:
        return written, list(csv.DictReader(file)), every


def test_every_box_is_a_line_with_all_that_is_known(tmp_path):
    write_run(tmp_path)
    written, lines, every = exported(tmp_path)
    assert len(lines) == len(every) == written.boxes == 7 and written.images == 3
    for line, (number, row, box) in zip(lines, every, strict=True):
        assert (int(line["image"]), int(line["row"]), line["kind"]) == (number, row, box.kind)
        assert [float(line[side]) for side in ("x1", "y1", "x2", "y2")] == list(box.box)
        for name in ("score", "iou", "occlusion", "outside", "annotation"):
            value = getattr(box, name)
            assert line[name] == "" if value is None else float(line[name]) == value
        for name in ("verdict", "mechanism"):
            assert line[name] == (getattr(box, name) or "")
    first, second, third, _, missed, *_, given = lines
    assert (first["width"], first["height"], first["image_id"]) == ("64", "48", "100")
    assert (second["annotation_id"], second["annotation_label"]) == ("11", "cat")
    assert (missed["annotation_id"], missed["annotation_label"], missed["mechanism"]) == ("", "ox", "low_score")
    assert (given["annotation_id"], given["kind"]) == ("15", "annotation")
    assert third["sentence"] == '\'-a duplicate, "of" detection 0\nin two lines'


def test_figures_are_columns_of_their_own(tmp_path):
    write_run(tmp_path)
    _, lines, _ = exported(tmp_path)
    names = [name for name in lines[0] if name.startswith("figures.")]
    assert names == [
        "figures.mixed", "figures.neighbour.iou", "figures.neighbour.label", "figures.ranks", "figures.sure"
    ]  # fmt: skip
    found = [[line[name] for name in names] for line in lines[:4]]
    assert found == [
        ["", "0.5", "'+ox", "[1, 2]", ""],
        ["1", "", "", "", "true"],
        ["2.5", "", "", "", ""],
        ["", "", "", "", ""],  # NaN is no figure
    ]
    assert json.loads(lines[0]["figures.ranks"]) == [1, 2]


def test_no_text_is_a_formula(tmp_path):
    write_run(tmp_path)
    _, lines, _ = exported(tmp_path)
    texts = [value for line in lines for value in line.values()]
    assert {"'=dog()", "'@12", "'@näh er.png"} <= set(texts)
    assert not [text for text in texts if text.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_a_filter_leaves_rows_and_columns_out(tmp_path):
    write_run(tmp_path)
    _, lines, _ = exported(tmp_path, Filter(verdict=["duplicate", "background"]))
    assert [line["row"] for line in lines] == ["2", "3"]
    assert [name for name in lines[0] if name.startswith("figures.")] == ["figures.mixed"]


def test_an_empty_run_is_a_line_of_names(tmp_path):
    with RunWriter(tmp_path / "run") as writer:
        writer.put_run({"class_names": []})
    written, lines, _ = exported(tmp_path)
    assert lines == [] and written.boxes == 0
    assert (tmp_path / "a.csv").read_text().startswith("image,image_id,name,path,width,height,row,kind,class,label,")
