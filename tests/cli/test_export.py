"""``odam export`` from end to end."""

import csv
import json
import sys

import pytest

from odam_d2.cli import export
from odam_d2.export import EXPORTERS, CsvRows
from tests.export.runs import write_run


@pytest.fixture
def run(tmp_path):
    write_run(tmp_path)
    return tmp_path / "run"


def call(run, to, output, *more):
    return export.main([str(run), "--to", to, "--output", str(output), *more])


def test_every_tool_gets_its_output(run, tmp_path, capsys):
    expected = {"coco": (5, 2), "csv": (7, 3), "fiftyone": (7, 4), "supervision": (5, 4)}
    for to, (boxes, images) in expected.items():
        assert call(run, to, tmp_path / "out" / to) == 0
        printed = capsys.readouterr()
        assert printed.out.splitlines()[0] == f"{boxes} boxes of {images} images: {tmp_path / 'out' / to}"
        assert "Images that could not be read or explained are left out: 1." in printed.out
        assert "exporting: 100%" in printed.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(expected)


def test_filters_and_options(run, tmp_path):
    assert call(run, "csv", tmp_path / "a.csv", "--class", "ox", "--kind", "missed", "detection") == 0
    with (tmp_path / "a.csv").open(newline="") as file:
        assert [line["row"] for line in csv.DictReader(file)] == ["3", "4"]
    options = ["--samples", "box", "--media", "refer", "--attributes", "all", "--verdict", "duplicate"]
    assert call(run, "fiftyone", tmp_path / "fo", *options) == 0
    (sample,) = json.loads((tmp_path / "fo" / "samples.json").read_text())["samples"]
    assert sample["box"]["row"] == 2 and {"heatmap_score", "heatmap_left"} < set(sample)
    assert sample["filepath"] == str(tmp_path / "images" / "@näh er.png") and not (tmp_path / "fo" / "data").exists()


def test_what_is_there_is_kept_unless_it_may_be_replaced(run, tmp_path, capsys):
    for to, name in (("csv", "a.csv"), ("supervision", "folder")):
        assert call(run, to, tmp_path / name) == 0
        assert call(run, to, tmp_path / name, "--min-score", ".85") == 1
        assert f"error: --output must be new; got '{tmp_path / name}', which exists" in capsys.readouterr().err
        assert call(run, to, tmp_path / name, "--min-score", ".85", "--overwrite") == 0
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 2
    assert len(json.loads((tmp_path / "folder" / "index.json").read_text())) == 1
    # What isn't the output of this command is never removed.
    assert call(run, "fiftyone", tmp_path / "images", "--overwrite") == 1
    assert "without samples.json: choose another" in capsys.readouterr().err
    assert call(run, "csv", tmp_path / "images", "--overwrite") == 1
    assert len(list((tmp_path / "images").iterdir())) == 4


def test_errors_are_one_sentence(run, tmp_path, capsys):
    cases = [
        ([tmp_path, "csv", tmp_path / "b"], "must hold a run"),
        ([run, "csv", tmp_path / "b", "--class", "dog"], "--class must be among"),
        ([run, "coco", tmp_path / "b", "--kind", "missed"], "`kind` must be among ['detection']"),
        ([run, "supervision", tmp_path / "b", "--attributes", "right"], "`attributes` must be among"),
        ([run, "fiftyone", tmp_path / "b", "--method", "drise"], "`method` must be one that the run has maps of"),
        ([run, "fiftyone", run / "store" / "index.sqlite" / "b"], "must be writable"),
    ]
    for arguments, message in cases:
        assert call(*arguments) == 1
        *_, last = capsys.readouterr().err.splitlines()
        assert last.startswith("error: ") and message in last
    assert not list(tmp_path.glob(".*")) and not (tmp_path / "b").exists()


def test_a_tool_of_one_s_own(run, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "from odam_d2.export import Exporter, Written, register_exporter\n"
        "@register_exporter('mine')\n"
        "class Mine(Exporter):\n"
        "    def export(self, path, watch):\n"
        "        path.write_text(' '.join(box.label for one in self.images(watch) for _, box in one.boxes))\n"
        "        return Written()\n"
    )
    try:
        assert call(run, "mine", tmp_path / "a", "--import", str(tmp_path / "mine.py"), "--max-score", ".5") == 0
        assert (tmp_path / "a").read_text() == "=dog() ox cat"
    finally:
        EXPORTERS._obj_map.pop("mine", None)
        sys.modules.pop("odam_d2_import_mine", None)
    with pytest.raises(SystemExit, match="2"):
        call(run, "mine", tmp_path / "b")
    assert "--to must be one of coco, csv, fiftyone, supervision; got 'mine'" in capsys.readouterr().err
    assert call(run, "csv", tmp_path / "b", "--import", str(tmp_path / "none.py")) == 1


@pytest.mark.parametrize("to, option", [("csv", "--media"), ("coco", "--attributes"), ("supervision", "--samples")])
def test_options_without_meaning_are_refused(run, tmp_path, capsys, to, option):
    value = {"--media": "copy", "--attributes": "score", "--samples": "box"}[option]
    with pytest.raises(SystemExit, match="2"):
        call(run, to, tmp_path / "a", option, value)
    assert f"{option} has no meaning for --to {to}" in capsys.readouterr().err


def test_an_interrupted_export_leaves_what_was_there(run, tmp_path, monkeypatch):
    assert call(run, "csv", tmp_path / "a.csv") == 0
    before = (tmp_path / "a.csv").read_bytes()

    def stopped(self, *_):
        yield [1, 2, 3]
        raise KeyboardInterrupt

    monkeypatch.setattr(CsvRows, "_rows", stopped)
    with pytest.raises(KeyboardInterrupt):
        call(run, "csv", tmp_path / "a.csv", "--overwrite")
    assert (tmp_path / "a.csv").read_bytes() == before and not list(tmp_path.glob(".*"))
