"""tools/benchmarks/report_page.py from end to end, on a few images."""

import json
import statistics

from tests.helpers import load_tool
from tests.visualize.browsers import needs_chromium

pytestmark = needs_chromium
SMALL = ["--images", "3", "--detections", "4", "--listed", "200", "--visited", "3", "--frames", "20", "--repeats", "2"]


def test_the_page_is_opened_used_and_measured(tmp_path, capsys, monkeypatch):
    path = tmp_path / "figures.json"
    tool = load_tool("benchmarks/report_page")
    assert tool.main([*SMALL, "--threads", "1", "--keep", str(tmp_path / "runs"), "--output", str(path)]) == 0
    printed, figures = capsys.readouterr().out, json.loads(path.read_text())
    maps, listed = figures["maps"], figures["listed"]
    assert (maps["images"], maps["boxes"], listed["images"], listed["boxes"]) == (3, 12, 2, 200)
    counts = {name: len(row["all_seconds"]) for name, row in maps["rows"].items()}
    assert counts["first image"] == counts["list"] == 2 and counts["frame of the list of boxes"] == 20
    assert counts["any filter"] == 2 * len(tool.FILTERS) and counts["step to an image"] == counts["step to a box"] == 3
    assert "first image" not in listed["rows"] and listed["rows"]["any order"]["seconds"] > 0
    assert 0 < maps["rows"]["megabytes of the heap"]["seconds"] < maps["rows"]["megabytes of the process"]["seconds"]
    opened = 1000 * statistics.median(maps["rows"]["first image"]["all_seconds"])
    assert "| first image " in printed and f" {opened:.1f} " in printed and figures["versions"]["torch"]
    # What was made is taken again, and shown to the browser again.
    pages = []
    monkeypatch.setattr(tool, "make_run", None)
    monkeypatch.setattr(tool, "opened", lambda page, _times: pages.append(page) or {})
    monkeypatch.setattr(tool, "used", lambda page, _args, _maps: pages.append(page) or {"any filter": [0.5]})
    again = tool.measure(tool.argument_parser().parse_args([*SMALL, "--keep", str(tmp_path / "runs")]))
    assert again["maps"]["boxes"] == 12 and again["listed"]["rows"]["any filter"]["seconds"] == 0.5
    assert len(pages) == 4 and all(page.is_file() for page in pages)
