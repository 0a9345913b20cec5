"""tools/benchmarks/training.py, end to end on a detector that is small enough."""

import json
import statistics
from types import SimpleNamespace

import pytest

from tests.helpers import load_tool


@pytest.fixture(scope="module")
def tool():
    return load_tool("benchmarks/training")


SMALL = [
    "SOLVER.IMS_PER_BATCH", "1", "MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu", "MODEL.FPN.OUT_CHANNELS", "16",
    "ODAM.COMPACT_RESNET.CHANNELS", "(4, 8, 12, 16)", "MODEL.ROI_BOX_HEAD.FC_DIM", "16",
    "MODEL.RPN.POST_NMS_TOPK_TRAIN", "50", "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "32",
]  # fmt: skip


def test_prints_a_table_and_writes_the_figures(tool, tmp_path, capsys):
    output = tmp_path / "figures.json"
    arguments = ["--repeats", "3", "--warmup", "1", "--threads", "1", "--skip-memory", "--output", str(output), *SMALL]
    assert tool.main(arguments) == 0
    printed = capsys.readouterr().out
    figures = json.loads(output.read_text())
    assert list(figures["rows"]) == ["stock", "first", "second"] and figures["amp"] and figures["images"] == 1
    stock = figures["rows"]["stock"]["all_seconds"]
    for row in figures["rows"].values():
        assert row["label"] in printed and len(row["all_seconds"]) == 3
        assert row["least"] <= row["seconds"] == statistics.median(row["all_seconds"]) <= row["most"]
        ratios = [one / base for one, base in zip(row["all_seconds"], stock)]
        assert row["times_stock"] == pytest.approx(statistics.median(ratios))
    assert figures["work"]["odam/maps"] > 0 and figures["work"]["odam/pairs_other"] > 0
    assert figures["versions"]["torch"] and figures["peak_mib"] == {}


def test_peaks_are_of_processes_of_their_own(tool, capsys, monkeypatch):
    typed = ["--no-amp", "--threads", "1", "--seed", "5", *SMALL]
    arguments, asked = tool.argument_parser().parse_args(typed), []

    def run_here(command, **_options):
        asked.append(tool.argument_parser().parse_args(command[2:]))
        assert tool.main(command[2:]) == 0
        return SimpleNamespace(stdout=capsys.readouterr().out)

    monkeypatch.setattr(tool.benchmarking.subprocess, "run", run_here)
    asking = SimpleNamespace(argv=typed)
    assert tool.benchmarking.peak_memory(tool.__file__, asking, "second") > 100
    assert vars(asked[0]) == {**vars(arguments), "memory_job": "second"}


def test_the_three_ways_differ_in_what_they_say(tool):
    arguments = tool.argument_parser().parse_args(["--threads", "1", *SMALL])
    weights = {way: tool.config_of(arguments, way).ODAM.TRAIN for way in tool.WAYS}
    assert [one.WEIGHT for one in weights.values()] == [0.0, 0.2, 0.2]
    assert [one.SECOND_ORDER for one in weights.values()] == [False, False, True]
    arguments.opts = [*arguments.opts, "ODAM.TRAIN.WEIGHT", "0.0"]
    with pytest.raises(ValueError, match="`ODAM.TRAIN.WEIGHT` of .* must be greater than 0; got 0"):
        tool.config_of(arguments, "stock")
