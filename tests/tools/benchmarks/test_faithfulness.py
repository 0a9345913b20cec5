"""tools/benchmarks/faithfulness.py from end to end, on an image that is far too small."""

import json

from tests.helpers import load_tool


def test_both_sides_give_the_same_numbers_and_a_ratio(tmp_path, capsys):
    path = tmp_path / "figures.json"
    small = ["--size", "64", "96", "--objects", "1", "--repeats", "1", "--warmup", "0", "--threads", "1"]
    assert load_tool("benchmarks/faithfulness").main([*small, "--output", str(path)]) == 0
    printed, figures = capsys.readouterr().out, json.loads(path.read_text())
    rows = figures["rows"]
    assert list(rows) == ["one by one", "together", "together, side by side", "side by side, mixed precision"]
    assert rows["one by one"]["all_times_faster"] == [1.0]
    loop, together = (rows[name]["all_seconds"] for name in ("one by one", "together"))
    assert rows["together"]["all_times_faster"] == [a / b for a, b in zip(loop, together, strict=True)]
    *exact, mixed = (row["largest_difference"] for row in rows.values())
    # A candidate that crosses IoU .5 can change a score by any amount.
    assert max(exact) < 1e-5 < mixed <= 1
    assert "| together " in printed and "1 objects on 64 x 96" in printed
    assert "detectron2_path" not in figures["versions"] and figures["versions"]["torch"]
