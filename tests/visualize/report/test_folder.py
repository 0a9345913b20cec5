"""The report as a folder: its scripts say what the run says, and an old one stays until the new one is whole."""

import re

import pytest

import odam_d2.visualize.report.folder as folder_module
import odam_d2.visualize.report.page as page_module
from odam_d2.utils.files import OutputError
from odam_d2.visualize.report import PageWords, write_report_folder
from odam_d2.visualize.report.records import image_record
from tests.visualize.reports import (
    NASTY,
    Page,
    column,
    grey,
    hot_maps,
    read_report,
    row,
    script_content,
    stored,
    truth,
    write_run,
)

BOX = [32, 16, 96, 64]


@pytest.fixture
def reader(tmp_path):
    """Two images with three boxes, one that failed, and one without boxes."""
    rows = [row(BOX, "dog", 0.9, verdict="correct", annotation=0), row([0, 0, 32, 32], "cat", 0.5)]
    images = [
        stored(0, rows, [truth(BOX)], {"": ([0, 1], hot_maps([BOX, [0, 0, 32, 32]], ("score", "left")))}),
        stored(1, [], failure="torn"),
        stored(2, [row(BOX)], maps={"": ([0], hot_maps([BOX], ("score", "left")))}),
        stored(3, []),
    ]
    return write_run(tmp_path / "run", images)


def test_scripts_hold_the_run(reader, tmp_path):
    page = write_report_folder(reader, tmp_path / "report", PageWords({"x": 1}, "A", "box", "none"), read_image=grey)
    assert page == tmp_path / "report" / "index.html"
    report = read_report(tmp_path / "report")
    assert {name: report[name] for name in ("images", "failed", "end", "first", "boxes", "annotated", "single")} == {
        "images": 4, "failed": 1, "end": 4, "first": 0, "boxes": 3, "annotated": True, "single": False,
    }  # fmt: skip
    assert report["run"] == {"x": 1} and report["noun"] == "box" and report["methods"] == ["odam"]
    assert report["names"] == ["score", "left"] and report["combined"] is None and report["inline"] is None
    assert report["listed"] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"] and sorted(report["records"]) == [0, 1, 2, 3]
    assert column(report, "image") == [0, 0, 2] and column(report, "label") == ["dog", "cat", "dog"]
    listed = script_content(tmp_path / "report" / report["folder"] / "images-0.js")[1]
    assert listed["boxes"] == [2, 0, 1, 0] and listed["failures"] == {"1": "torn"} and listed["thumbs"][1] is None
    for number, record in report["records"].items():
        expected = image_record(reader.image(number), record["image"])
        assert record["detections"] == _as_json(expected["detections"])
        if number != 1:
            assert (tmp_path / "report" / record["image"]).is_file()
            assert (tmp_path / "report" / listed["thumbs"][number]).is_file()


def _as_json(value):
    if isinstance(value, dict):
        return {name: _as_json(one) for name, one in value.items()}
    return [_as_json(one) for one in value] if isinstance(value, list | tuple) else value


def test_the_order_is_the_runs_whatever_numbers_are_missing(tmp_path):
    """A run that was stopped: the numbers of its images have gaps."""
    reader = write_run(tmp_path / "run", [stored(n, [row(BOX)] * (n // 2)) for n in (5, 1, 1200)])
    write_report_folder(reader, tmp_path / "report", read_image=grey)
    report = read_report(tmp_path / "report")
    assert sorted(report["records"]) == [1, 5, 1200] and report["listed"] == ["1.jpg", "5.jpg", "1200.jpg"]
    assert (report["images"], report["end"], report["first"], report["boxes"]) == (3, 1201, 5, 602)
    assert (tmp_path / "report" / report["folder"] / "1" / "1200.js").is_file()


def test_large_runs_are_in_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "ROWS", 4)
    monkeypatch.setattr(page_module, "IMAGES", 3)
    reader = write_run(tmp_path / "run", [stored(n, [row(BOX, f"c{n}")] * 3) for n in range(7)])
    write_report_folder(reader, tmp_path / "report", read_image=grey)
    report = read_report(tmp_path / "report")
    # A chunk is full with the image that fills it.
    assert report["chunks"] == {"rows": 4, "images": 3} and [one["start"] for one in report["rows"]] == [0, 6, 12, 18]
    assert column(report, "label") == [f"c{n}" for n in range(7) for _ in range(3)] and len(report["listed"]) == 7


def test_written_again_it_takes_the_old_ones_place(reader, tmp_path):
    write_report_folder(reader, tmp_path / "report", read_image=grey)
    old = read_report(tmp_path / "report")["folder"]

    def gone(image):
        raise AssertionError("images are there already")

    write_report_folder(reader, tmp_path / "report", PageWords(title="new"), read_image=gone)
    new = read_report(tmp_path / "report")["folder"]
    assert new != old and {path.name for path in (tmp_path / "report").iterdir()} == {
        "index.html", "images", "thumbs", new,
    }  # fmt: skip


def test_interrupted_it_leaves_the_old_one(reader, tmp_path, monkeypatch):
    write_report_folder(reader, tmp_path / "report", read_image=grey)
    before = sorted(tmp_path.rglob("*"))
    for place, error in (("write_text", OutputError("x", OSError("full"))), ("_write", KeyboardInterrupt())):
        with monkeypatch.context() as patch:
            patch.setattr(folder_module, place, lambda *_, error=error: (_ for _ in ()).throw(error))
            with pytest.raises(type(error)):
                write_report_folder(reader, tmp_path / "report", read_image=grey)
        assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_takes_no_files(reader, tmp_path):
    (tmp_path / "report").write_text("in the way")
    with pytest.raises(OutputError, match="must be writable"):
        write_report_folder(reader, tmp_path / "report", read_image=grey)


def test_an_image_that_is_gone_leaves_a_sentence(reader, tmp_path):
    write_report_folder(reader, tmp_path / "report")
    record = read_report(tmp_path / "report")["records"][0]
    assert record["image"] is None and "'nowhere/0.jpg': " in record["gone"] and len(record["detections"]) == 2
    assert not (tmp_path / "report" / "images").exists()


def test_no_text_can_break_out(tmp_path):
    figures = {NASTY: NASTY, "roles": {NASTY: {"label": NASTY}}}
    rows = [row(BOX, NASTY, verdict=NASTY, mechanism=NASTY, kind="missed", sentence=NASTY, figures=figures)]
    images = [stored(0, rows, [truth(BOX, NASTY)], name=NASTY), stored(1, [], name=NASTY, failure=NASTY)]
    reader = write_run(tmp_path / "run", images)
    words = PageWords({"command": NASTY, "versions": {NASTY: NASTY}}, NASTY, NASTY, NASTY)
    write_report_folder(reader, tmp_path / "report", words, read_image=grey)
    page = Page(tmp_path / "report" / "index.html")
    assert len(page.scripts) == 2  # the data and the page's own, none that a name has opened
    assert page.data["run"] == words.facts and page.text.count("alert(1)") == 2  # the title, twice, as text
    assert [address for address in page.addresses if not address.startswith("data:")] == []
    report = read_report(tmp_path / "report")
    assert report["listed"] == [NASTY] * 2 and report["records"][1]["error"] == NASTY
    assert report["records"][0]["detections"][0]["sentence"] == NASTY
    for path in (tmp_path / "report").rglob("*.js"):
        assert not set("<>&\u2028") & set(path.read_text(encoding="utf-8")), path
    assert all(re.fullmatch(r"[\w.-]+", path.name) for path in (tmp_path / "report").rglob("*"))


def test_no_detections_and_no_images(tmp_path):
    for name, images in (("one", [stored(0, [])]), ("none", [])):
        reader = write_run(tmp_path / name, images)
        write_report_folder(reader, tmp_path / f"{name} report", PageWords(empty="Nothing."), read_image=grey)
        report = read_report(tmp_path / f"{name} report")
        assert (report["images"], report["boxes"], report["first"]) == (len(images), 0, 0 if images else None)
        assert report["empty"] == "Nothing." and report["rows"] == [] and report["names"] == []


def test_maps_of_several_methods_and_roles(tmp_path):
    parts = ("score", "left", "top", "right", "bottom")
    one = stored(0, [row(BOX)], [truth(BOX)], {"": ([0], hot_maps([BOX], parts)), "true class": ([0], hot_maps([BOX]))})
    one.maps["gradcam", ""] = ([0], hot_maps([BOX], ("score", "mask")))
    write_report_folder(write_run(tmp_path / "run", [one]), tmp_path / "report", read_image=grey)
    report = read_report(tmp_path / "report")
    assert report["methods"] == ["gradcam", "odam"]
    assert sorted(report["names"]) == sorted([*parts, "mask", "combined"]) and report["combined"] == list(parts)
    maps = report["records"][0]["detections"][0]["maps"]
    assert maps["odam"]["true class"]["attributes"] == ["score"] and set(maps["gradcam"]) == {""}
