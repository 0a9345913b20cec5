"""tools/research/own_graph.py, end to end on a detector of two levels."""

import json

import cv2
import numpy as np
import torch

from tests.cli.test_foreign import CONFIG
from tests.helpers import load_tool


def test_prints_times_and_the_largest_difference(tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    for k in range(2):
        cv2.imwrite(str(tmp_path / f"{k}.png"), pixels)
    torch.save(torch.tensor(0.75), tmp_path / "bright.pt")
    (tmp_path / "bright.py").write_text(CONFIG.replace("WEIGHTS", str(tmp_path / "bright.pt")))
    words = ["--config-file", str(tmp_path / "bright.py"), "--input", str(tmp_path), "--score-threshold", "0.01"]
    tool = load_tool("research/own_graph")
    assert tool.main([*words, "--repeats", "1", "--output", str(tmp_path / "out.json")]) == 0
    printed = capsys.readouterr().out
    assert "| five " in printed and "2 of 2 images with 4 detections" in printed
    found = json.loads((tmp_path / "out.json").read_text())["images"]
    # Two detections x five attributes; those without a gradient are zero both ways.
    assert [len(image["errors"]) for image in found] == [10, 10]
    assert max(error for image in found for error in image["errors"]) < 1e-5
    # The first score is made on both levels.
    entry = {"image": torch.rand(3, 32, 32), "height": 32, "width": 32}
    model = tool.read_run_config(tool.argument_parser().parse_args(words), 0.0, 100).build()
    leaves, scalars = tool.run_plainly(model, entry)
    assert tool.expected_values(leaves, scalars[0]).shape == (5, 16 + 4)


def test_other_detectors_are_refused(tmp_path, capsys):
    words = ["--config-file", "synthetic/faster_rcnn_compact_FPN", "--input", str(tmp_path)]
    assert load_tool("research/own_graph").main(words) == 1
    assert "must build a CallableDetector; got OdamRCNN" in capsys.readouterr().err
