"""tools/research/exactness.py, end to end on a small detector with random weights."""

import re

import pytest

from tests.helpers import load_tool

SMALL = ["MODEL.RESNETS.DEPTH", "18", "MODEL.RESNETS.RES2_OUT_CHANNELS", "64", "MODEL.FPN.OUT_CHANNELS", "32"]


@pytest.mark.parametrize("config", ["faster_rcnn_R_50_FPN_3x", "retinanet_R_50_FPN_3x"])
def test_prints_the_largest_difference_of_each_attribute(config, capsys):
    arguments = ["--config-file", f"COCO-Detection/{config}.yaml", "--boxes", "3", "--size", "96", "128"]
    assert load_tool("research/exactness").main([*arguments, "MODEL.DEVICE", "cpu", *SMALL]) == 0
    rows = re.findall(r"\| (\w+) +\| +3 \| +([\d.e+-]+) +\| +([\d.e+-]+) +\|", capsys.readouterr().out)
    assert [name for name, _, _ in rows] == [
        "score", "logit", "left", "top", "right", "bottom", "x1", "y1", "x2", "y2",
    ]  # fmt: skip
    assert all(float(median) <= float(largest) < 1e-4 for _, median, largest in rows)


def test_prints_how_far_frozen_group_norm_is_from_exact(capsys):
    arguments = ["--config-file", "synthetic/fcos_compact_FPN", "--group-norm", "--images", "1"]
    options = ["MODEL.DEVICE", "cpu", "ODAM.FCOS.SCORE_THRESH_TEST", "0.5", "TEST.DETECTIONS_PER_IMAGE", "2"]
    with pytest.warns(UserWarning, match="frozen statistics"):
        assert load_tool("research/exactness").main([*arguments, *options]) == 0
    rows = re.findall(r"^\| *(\d+) +\| *(\d+) +\|(.*)\|$", capsys.readouterr().out, re.MULTILINE)
    assert sum(int(maps) for _, maps, _ in rows) == 12  # two detections, six attributes
    for _, _, cells in rows:
        median, most, largest = [float(cell) for cell in cells.split("|")][:3]
        assert 0 < median <= most <= largest
