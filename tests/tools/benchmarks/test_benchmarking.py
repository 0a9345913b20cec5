"""What the benchmarks share: clocks, images, one-line errors."""

import json

import pytest
import torch

from tests.helpers import load_tool


@pytest.fixture(scope="module")
def shared():
    return load_tool("benchmarks/benchmarking")


def test_works_take_turns_after_a_warm_up(shared):
    done, time = [], [0.0]

    def work(name, seconds):
        done.append(name)
        time[0] += seconds * len(done)

    works = {"a": lambda: work("a", 1.0), "b": lambda: work("b", 10.0)}
    rows = shared.timed_in_turns(works, repeats=2, warmup=1, clock=lambda: time[0])
    assert done == ["a", "b"] * 3
    # The third and fifth call, and the fourth and sixth; those before are the warm-up.
    assert rows["a"] == {"seconds": 4.0, "least": 3.0, "most": 5.0, "all_seconds": [3.0, 5.0]}
    assert rows["b"]["all_seconds"] == [40.0, 60.0]


def test_a_row_is_the_median_and_the_extremes(shared):
    row = shared.row([3.0, 1.0, 2.0])
    assert row == {"seconds": 2.0, "least": 1.0, "most": 3.0, "all_seconds": [3.0, 1.0, 2.0]}
    assert shared.spread(row) == ["2.000", "1.000 - 3.000"] and shared.spread(row, 1) == ["2.0", "1.0 - 3.0"]


def test_blobs_are_an_image(shared):
    image = shared.blobs(40, 56, torch.Generator().manual_seed(0))
    assert image.shape == (3, 40, 56) and 0 <= float(image.min()) < float(image.max()) <= 255
    (entry,) = shared.model_input(image)
    assert (entry["height"], entry["width"]) == (40, 56)


def test_figures_are_printed_and_kept_with_settings_and_versions(shared, tmp_path, capsys):
    parser = shared.benchmark_parser("What it times.", "synthetic/fcos_compact_FPN", repeats=4)
    argv = ["--threads", "1", "--output", str(tmp_path / "x.json"), "MODEL.DEVICE", "cpu"]
    assert (
        shared.run_benchmark(parser, lambda args: {"rounds": args.repeats}, lambda f: f"{f['rounds']} runs", argv) == 0
    )
    assert capsys.readouterr().out == f"4 runs\nWritten to {tmp_path / 'x.json'}\n"
    kept = json.loads((tmp_path / "x.json").read_text())
    assert kept["rounds"] == 4 and kept["versions"]["torch"] and "detectron2_path" not in kept["versions"]
    assert kept["settings"] == {
        "class_names": None, "config_file": "synthetic/fcos_compact_FPN", "config_hooks": [], "imports": [],
            "opts": ["MODEL.DEVICE", "cpu"], "repeats": 4, "threads": 1,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["explaining", "faithfulness", "methods", "nms", "report", "training"])
def test_a_set_up_that_fails_is_one_sentence(name, capsys):
    assert load_tool(f"benchmarks/{name}").main(["--config-file", "nothing", "--threads", "1"]) == 1
    assert "a yaml file; got 'nothing': choose one of" in capsys.readouterr().err
