"""tools/benchmarks/methods.py from end to end, on an image that is far too small."""

import json

from odam_d2.explain import METHODS
from tests.helpers import load_tool

SMALL = ["--size", "64", "96", "--boxes", "2", "--repeats", "2", "--threads", "1", "--batch-size", "2"]


def test_figures_are_those_of_all_methods(tmp_path, capsys):
    path = tmp_path / "figures.json"
    assert load_tool("benchmarks/methods").main([*SMALL, "--masks", "3", "--output", str(path)]) == 0
    printed, figures = capsys.readouterr().out, json.loads(path.read_text())
    rows = figures["rows"]
    # The control costs nothing.
    assert set(rows) == {*METHODS, "all gradient methods together"} - {"random"}
    assert [len(rows[name]["all_seconds"]) for name in ("odam", "drise")] == [2, 1]
    ratio = rows["drise"]["seconds"] / rows["odam"]["seconds"]
    assert f"D-RISE with 3 masks / ODAM: {ratio:.0f} times." in printed
    assert all(f"| {name} " in printed for name in rows)
    assert "detectron2_path" not in figures["versions"] and figures["versions"]["torch"]


def test_without_masks_there_is_no_drise(capsys):
    tool = load_tool("benchmarks/methods")
    assert tool.main([*SMALL, "--masks", "0"]) == 0
    printed = capsys.readouterr().out
    assert "drise" not in printed and "D-RISE" not in printed and "together" in printed


def test_boxes_lie_in_the_image():
    tool = load_tool("benchmarks/methods")
    args = tool.argument_parser().parse_args(SMALL)
    (entry,), (boxes,) = tool.image_and_boxes(args)
    assert entry["image"].shape == (3, 64, 96)
    low, high = boxes.pred_boxes.tensor[:, :2], boxes.pred_boxes.tensor[:, 2:]
    assert bool((low >= 0).all()) and float(high[:, 0].max()) <= 96 and float(high[:, 1].max()) <= 64
