"""tools/benchmarks/explaining.py, end to end on a detector that is small enough."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.helpers import load_tool


@pytest.fixture(scope="module")
def tool():
    return load_tool("benchmarks/explaining")


def test_prints_a_table_and_writes_the_figures(tool, tmp_path, capsys, fresh, monkeypatch):
    begin = subprocess.run

    def run(command, **options):
        if "--memory-job" not in command:  # what asks for versions begins programs, too
            return begin(command, **options)
        return fresh(script=command[1], arguments=command[2:], path=[Path(command[1]).parent])

    monkeypatch.setattr(tool.benchmarking.subprocess, "run", run)
    output = tmp_path / "figures.json"
    small = ["MODEL.RESNETS.DEPTH", "18", "MODEL.RESNETS.RES2_OUT_CHANNELS", "64", "MODEL.FPN.OUT_CHANNELS", "16"]
    arguments = ["--size", "96", "128", "--boxes", "4", "--candidates", "6", "--repeats", "2", "--warmup", "1"]
    arguments += ["--threads", "1", "--output", str(output), *small, "MODEL.DEVICE", "cpu"]
    assert tool.main(arguments) == 0
    printed = capsys.readouterr().out
    figures = json.loads(output.read_text())
    assert set(figures["rows"]) == {"stock", "trace", "maps", "candidates", "call", "loop"}
    assert len(figures["rows"]["loop"]["all_seconds"]) == 4 * 5
    assert figures["rows"]["loop"]["seconds"] == pytest.approx(sum(figures["rows"]["loop"]["all_seconds"]))
    assert all(len(row["all_seconds"]) == 2 for key, row in figures["rows"].items() if key != "loop")
    assert sum(figures["boxes_per_level"].values()) == 4
    assert min(figures["peak_mib"].values()) > 100
    for row in figures["rows"].values():
        assert row["label"] in printed
        assert row["share_of_inference"] == pytest.approx(row["seconds"] / figures["rows"]["stock"]["seconds"])
    assert "detectron2_path" not in figures["versions"] and figures["versions"]["torch"]
