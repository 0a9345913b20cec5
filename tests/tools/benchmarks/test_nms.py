"""tools/benchmarks/nms.py, end to end on a detector that is small enough."""

import io
import json
from contextlib import redirect_stdout
from types import SimpleNamespace

import pytest

from tests.helpers import load_tool

SMALL = ["MODEL.RESNETS.DEPTH", "18", "MODEL.RESNETS.RES2_OUT_CHANNELS", "64", "MODEL.FPN.OUT_CHANNELS", "16"]
RUN = ["--size", "96", "128", "--repeats", "2", "--warmup", "1", "--threads", "1"]


@pytest.fixture(scope="module")
def tool():
    return load_tool("benchmarks/nms")


def test_prints_a_table_and_writes_the_figures(tool, tmp_path, capsys, monkeypatch):
    real = tool.benchmarking.subprocess.run

    def run_here(command, **options):
        """The tool itself in this process, whose peak is not that of the job alone; it starts others as well."""
        if command[1] != tool.__file__:
            return real(command, **options)
        with redirect_stdout(io.StringIO()) as printed:
            assert tool.main(command[2:]) == 0
        return SimpleNamespace(stdout=printed.getvalue())

    monkeypatch.setattr(tool.benchmarking.subprocess, "run", run_here)
    output = tmp_path / "figures.json"
    arguments = [*RUN, "--candidates", "5", "20", "--sample", "2", "--output", str(output)]
    assert tool.main([*arguments, *SMALL, "MODEL.DEVICE", "cpu"]) == 0
    printed, found = capsys.readouterr().out, json.loads(output.read_text())
    assert [one["candidates"] for one in found["figures"]] == [5, 20]
    for one in found["figures"]:
        stock, ours = one["rows"].values()
        assert one["share"] == pytest.approx(ours["seconds"] / stock["seconds"] - 1)
        assert set(one["parts"]) == {"maps", "similarity", "choice"}
        assert all(len(row["all_seconds"]) == 2 for row in [stock, ours, one["loop"], *one["parts"].values()])
        added = f"{one['candidates']} candidates: Odam-NMS adds {100 * one['share']:.1f} % to stock inference"
        whole = one["loop"]["seconds"] * one["candidates"]
        assert f"{added}; their maps one by one would take {whole:.0f} s" in printed
        assert "extrapolated from 2 autograd calls" in printed
    assert min(found["peak_mib"].values()) > 100
    assert "detectron2_path" not in found["versions"] and found["versions"]["torch"]


def test_dense_detectors_let_as_many_pass(tool):
    dense = ["--config-file", "COCO-Detection/retinanet_R_50_FPN_3x.yaml"]
    args = tool.argument_parser().parse_args(["--candidates", "6", *RUN, *dense, *SMALL, "MODEL.DEVICE", "cpu"])
    subjects = tool.Subjects(args)
    model = subjects.build(suppressed=True)
    tool.let_pass(model, subjects.threshold(model, 6))
    assert len(model.candidate_trace(subjects.inputs).instances[0]) == 6
