"""tools/benchmarks/report.py from end to end, on two images."""

import json
import statistics

import pytest

from tests.helpers import load_tool


def test_both_sides_explain_the_same_boxes(tmp_path, capsys):
    path = tmp_path / "figures.json"
    options = ["--images", "2", "--detections", "3", "--strips", "1", "--repeats", "2", "--threads", "1"]
    assert load_tool("benchmarks/report").main([*options, "--output", str(path)]) == 0
    printed, figures = capsys.readouterr().out, json.loads(path.read_text())
    alone, tool = figures["rows"].values()
    assert alone["boxes"] == tool["boxes"] == 6
    expected = statistics.median(tool["all_seconds"]) / statistics.median(alone["all_seconds"])
    assert figures["ratio"] == pytest.approx(expected) and f"Ratio: {expected:.2f}" in printed
    assert figures["versions"]["torch"] and "detectron2_path" not in figures["versions"]
