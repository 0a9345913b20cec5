"""tools/summarize_runs.py: a run of two objects, whose every cell is known."""

import html
import json
import re
import shutil

import pytest
from markdown_it import MarkdownIt

from tests.helpers import load_command


@pytest.fixture
def run(tmp_path):
    """One image with two objects; the rival is worse by .25 on both."""
    folder = tmp_path / "a_run"
    folder.mkdir()
    means = {"odam": {"mean": 0.75, "interval": [0.7, 0.8]}, "b": {"mean": 0.5, "interval": [0.4, 0.6]}}
    nothing = {"higher_is_better": True, "objects": 0, "methods": {}, "why_none": "no masks"}
    measured = {
        "metrics": {"energy_box": {"higher_is_better": True, "objects": 2, "methods": means}, "vea": nothing},
        "counts": {"images": 1, "objects": 3, "matched": 2, "detections": 5, "low_iou": 3, "crowd": 6},
        "run": {"command": "odam evaluate --seed 4", "seed": 4, "methods": {"odam": {}, "b": {}},
                "iou_threshold": 0.5, "score_threshold": 0.3, "attribute": "score", "device": "cpu",
                "versions": {"odam_d2": "0.9", "torch": "2.5", "detectron2": "0.6", "detectron2_path": "there"}},
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(measured))
    lines = ["image_id,annotation_id,method,energy_box,vea", "1,1,odam,0.7,", "1,1,b,0.45,", "1,2,odam,0.8,"]
    (folder / "per_object.csv").write_text("\n".join([*lines, "1,2,b,0.55,"]) + "\n")
    return folder


def cells(text, first):
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    (row,) = [row for row in table if row[0] == first]
    return row


def test_means_and_differences(run, capsys):
    assert load_command("summarize").main([str(run)]) == 0
    text = capsys.readouterr().out
    assert "### a_run\n\n    odam evaluate --seed 4\n" in text
    assert "Seed 4, maps of `score`, cpu, odam_d2 0.9, torch 2.5, detectron2 0.6. " in text
    assert "detectron2 0.6. Matched: IoU > 0.5, score >= 0.3. 1 images. " in text
    assert "6 are crowds" in text and "3 are objects, of which 2 matched. Of 5 detections" in text
    assert cells(text, "method") == ["method", "energy_box + (n 2)"]
    assert cells(text, "odam") == ["odam", "**0.750** [0.700, 0.800]"]
    assert cells(text, "b") == ["b", "0.500 [0.400, 0.600]"]
    assert cells(text, "odam - b") == ["odam - b", "+0.250 [+0.250, +0.250] better"]


def test_what_does_not_fit_on_a_page_is_another_table(run, monkeypatch, capsys):
    measured = json.loads((run / "metrics.json").read_text())
    measured["metrics"]["vea"] = measured["metrics"]["energy_box"]
    (run / "metrics.json").write_text(json.dumps(measured))
    rows = (run / "per_object.csv").read_text().replace(",\n", ",0.5\n")
    (run / "per_object.csv").write_text(rows)
    tool = load_command("summarize")
    monkeypatch.setattr(tool, "_COLUMNS", 1)
    assert tool.main([str(run)]) == 0
    text = capsys.readouterr().out
    heads = [line.split("|")[1:] for line in text.splitlines() if "(n 2)" in line]
    assert [[cell.strip() for cell in head if cell.strip()] for head in heads] == [
        ["method", "energy_box + (n 2)"], ["method", "vea + (n 2)"],
    ]  # fmt: skip
    assert text.count("odam - b") == 2 and "+0.000 [+0.000, +0.000] open" in text


MIXED, OWN = "in mixed precision", "in the precision of its weights"


@pytest.mark.parametrize(
    "amp, methods, metric, told",
    [
        (True, {"random": {"seed": 0}}, "energy_box", ""),  # a map drawn at random asks nothing
        (True, {"odam": {}}, "deletion", MIXED),
        (False, {"odam": {}}, "deletion", OWN),
        (True, {"drise": {"amp": True}}, "energy_box", MIXED),
        (False, {"drise": {"amp": False}}, "energy_box", OWN),
        # --method-option drise.amp=true without --amp.
        (False, {"drise": {"amp": True}}, "energy_box", MIXED),
        (False, {"drise": {"amp": True}}, "deletion", f"{OWN} and {MIXED}"),
    ],
)
def test_precision_is_told_where_the_detector_was_asked(run, capsys, amp, methods, metric, told):
    measured = json.loads((run / "metrics.json").read_text())
    measured["run"] |= {"amp": amp, "methods": methods}
    means = dict.fromkeys(methods, {"mean": 0.5, "interval": [0.4, 0.6]})
    measured["metrics"] = {metric: {"higher_is_better": True, "objects": 2, "methods": means}}
    (run / "metrics.json").write_text(json.dumps(measured))
    assert load_command("summarize").main([str(run), "--rivals", "none"]) == 0
    sentence = f"; changed images were scored {told}. " if told else ". "
    assert f"detectron2 0.6{sentence}Matched: " in capsys.readouterr().out


def test_rivals_that_a_run_lacks_are_left_out(run, tmp_path):
    assert load_command("summarize").main([str(run), "--rivals", "drise", "--output", str(tmp_path / "r.md")]) == 0
    assert "odam -" not in (tmp_path / "r.md").read_text()


def test_several_runs_are_counted_and_losses_named(run, tmp_path, capsys):
    # The other run is the same with the methods exchanged, so that one is better and one is worse.
    other = tmp_path / "b_run"
    shutil.copytree(run, other)
    rows = (other / "per_object.csv").read_text()
    (other / "per_object.csv").write_text(rows.replace("odam", "?").replace(",b,", ",odam,").replace("?", "b"))
    assert load_command("summarize").main([str(run), str(other)]) == 0
    text = capsys.readouterr().out
    assert cells(text, "odam against") == ["odam against", "b"]
    assert cells(text, "energy_box +") == ["energy_box +", "1 / 0 / 1 (b_run)"]
    assert text.index("odam against") < text.index("### a_run") < text.index("### b_run")


def test_sanity_checks_are_told(run, capsys):
    (run / "sanity.json").write_text(json.dumps({"verdicts": {"odam": ["odam passes."], "b": ["b fails."]}}))
    assert load_command("summarize").main([str(run)]) == 0
    assert "\n- odam passes.\n- b fails.\n" in capsys.readouterr().out


def test_an_unfinished_run_is_an_error(tmp_path, capsys):
    assert load_command("summarize").main([str(tmp_path)]) == 1
    assert "without metrics.json: run odam evaluate --resume" in capsys.readouterr().err


def test_what_is_kept_of_runs_prints_the_same(run, tmp_path, capsys):
    other = shutil.copytree(run, tmp_path / "b_run")
    (other / "sanity.json").write_text(json.dumps({"verdicts": {"odam": ["odam passes."]}}))
    tool, kept = load_command("summarize"), tmp_path / "kept"
    assert tool.main([str(run), str(other), "--keep", str(kept)]) == 0
    printed = capsys.readouterr().out
    files = [str(kept / "a_run.json"), str(kept / "b_run.json")]
    assert tool.main(files) == 0
    assert capsys.readouterr().out == printed and "odam passes." in printed and "+0.250" in printed
    content = json.loads((kept / "a_run.json").read_text())
    # .7 - .45 and .8 - .55, of one image.
    found = content["differences"]["odam"]["b"]["energy_box"]
    assert found["mean"] == pytest.approx(0.25) and found["interval"] == pytest.approx([0.25, 0.25])
    assert found["objects"] == 2
    # A folder of the machine is no figure.
    assert content["run"]["versions"] == {"odam_d2": "0.9", "torch": "2.5", "detectron2": "0.6"}
    assert tool.main([*files, "--method", "b"]) == 1
    assert "`method` must be 'odam' for a_run, a kept file; got 'b'" in capsys.readouterr().err
    # Kept once more, it stays what it was.
    assert tool.main([files[0], "--keep", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "a_run.json").read_text() == (kept / "a_run.json").read_text()


def test_folders_of_any_name_are_headings_and_cells_of_their_own(run, tmp_path, capsys):
    names = ("a|b", "`x` *y*", "<b>", "a\nb", "#1 $x$")
    for name in names:
        shutil.copytree(run, tmp_path / name)
    runs = [str(tmp_path / name) for name in names]
    assert load_command("summarize").main([*runs, "--method", "b"]) == 0  # which is worse in all of them
    text = capsys.readouterr().out
    page = html.unescape(MarkdownIt("commonmark").enable("table").render(text))
    headings = re.findall("<h3>(.*?)</h3>", page)
    assert headings == ["a|b", "`x` *y*", "<b>", "a\\nb", "#1 $x$"]
    (cell,) = re.findall("<td>(0 / 0 / 5 .*?)</td>", page)
    assert cell == f"0 / 0 / 5 ({', '.join(headings)})"


def test_runs_of_one_name_are_kept_apart(run, tmp_path):
    shutil.copytree(run, tmp_path / "other" / run.name)
    runs = [str(run), str(tmp_path / "other" / run.name)]
    assert load_command("summarize").main([*runs, "--keep", str(tmp_path / "kept")]) == 0
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["a_run-2.json", "a_run.json"]
