"""The report as one file: it holds what the folder would load, and fetches nothing."""

import json
import subprocess

import numpy as np
import pytest

import odam_d2.visualize.report.single as single_module
from odam_d2.visualize.report import PageWords, render_instances, write_report_folder, write_single_file
from tests.visualize.browsers import NODE, needs_node
from tests.visualize.reports import (
    NAMES,
    Page,
    column,
    complete,
    grey,
    heat_maps,
    hot_maps,
    instances_of,
    read_report,
    row,
    stored,
    truth,
    write_run,
)

BOX = [32, 16, 96, 64]


@pytest.fixture
def reader(tmp_path):
    images = [stored(n, [row(BOX, f"c{n}", verdict="correct")], [truth(BOX)], {"": ([0], hot_maps([BOX]))})
              for n in range(3)]  # fmt: skip
    return write_run(tmp_path / "run", [*images, stored(3, [], failure="torn")])


def read_single(path):
    data = Page(path).data
    return complete(data, data["inline"])


def test_it_holds_what_the_folder_loads(reader, tmp_path):
    words = PageWords({"seconds": 3}, "A & B")
    write_single_file(reader, tmp_path / "x.html", words, read_image=grey)
    write_report_folder(reader, tmp_path / "report", words, read_image=grey)
    one, other = read_single(tmp_path / "x.html"), read_report(tmp_path / "report")
    for number, record in one["records"].items():
        assert record["error"] or record["image"].startswith("data:image/jpeg;base64,")
        assert {**record, "image": None} == {**other["records"][number], "image": None}
    assert column(one, "label") == column(other, "label") == ["c0", "c1", "c2"] and one["listed"] == other["listed"]
    same = set(one) - {"folder", "inline", "records", "rows"}
    assert {name: one[name] for name in same} == {name: other[name] for name in same}


def test_nothing_is_fetched(reader, tmp_path):
    write_single_file(reader, tmp_path / "x.html", read_image=grey)
    page, text = Page(tmp_path / "x.html"), (tmp_path / "x.html").read_text(encoding="utf-8")
    assert [address for address in page.addresses if not address.startswith("data:")] == []
    for forbidden in ("https://", "url(", "@import", "fetch(", "XMLHttpRequest", "import("):
        assert forbidden not in text, forbidden
    assert text.replace("http://www.w3.org/2000/svg", "").count("http://") == 0  # a namespace, never fetched
    assert "script-src 'unsafe-inline'\"" in text and "img-src data:;" in text


def test_too_many_images_are_refused_in_one_sentence(reader, tmp_path, monkeypatch):
    monkeypatch.setattr(single_module, "MOST_IMAGES", 3)
    with pytest.raises(ValueError, match="must have at most 3 images; got 4: write the report as a folder"):
        write_single_file(reader, tmp_path / "x.html", read_image=grey)
    monkeypatch.setattr(single_module, "MOST_IMAGES", 4)
    write_single_file(reader, tmp_path / "x.html", read_image=grey)


def test_a_failed_report_leaves_the_old_one(reader, tmp_path):
    write_single_file(reader, tmp_path / "x.html", read_image=grey)
    before = (tmp_path / "x.html").read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_single_file(reader, tmp_path / "x.html", PageWords({"seconds": float("nan")}), read_image=grey)
    assert (tmp_path / "x.html").read_bytes() == before and not list(tmp_path.glob(".*"))


def test_instances_become_a_page_about_one_image(tmp_path):
    maps = heat_maps([[0, 1, 2, 3], [4, 6, 3, 1]], (8, 10), (8.0, 8.0), (60, 75), (120, 150))
    pixels = np.full((120, 150, 3), 90, np.uint8)
    page = render_instances(pixels, instances_of(maps), ["dog"], ("combined", "left"), "street")
    (tmp_path / "x.html").write_text(page, encoding="utf-8")
    found = read_single(tmp_path / "x.html")
    assert found["names"] == ["combined", "left"] and found["single"] is True and '<body class="single">' in page
    record = found["records"][0]
    assert (record["name"], record["size"], record["input"]) == ("street", [150, 120], [60, 75])
    assert [one["label"] for one in record["detections"]] == ["dog", "class 1"]
    assert record["detections"][0]["maps"][""][""]["attributes"] == list(NAMES) and found["methods"] == [""]


@needs_node
def test_the_pages_script_parses(reader, tmp_path):
    write_single_file(reader, tmp_path / "x.html", read_image=grey)
    page = Page(tmp_path / "x.html")
    (tmp_path / "page.js").write_text(page.scripts[1 - page.ids["data"]], encoding="utf-8")
    done = subprocess.run([NODE, "--check", tmp_path / "page.js"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(page.scripts[page.ids["data"]])["images"] == 4
