"""tools/research/exactness.py, end to end on a small detector with random weights."""

import re

import pytest

from tests.helpers import given, load_tool

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


def test_boxes_that_fit_no_anchor_are_left_out(monkeypatch, capsys):
    exactness = load_tool("research/exactness")
    three = given((480, 640), [[100, 100, 200, 220], [0, 200, 640, 201], [300, 50, 340, 90]], [0, 0, 1])
    monkeypatch.setattr(exactness, "boxes_everywhere", lambda *_: three)
    assert exactness.main(["--config-file", "synthetic/fcos_compact_FPN", "MODEL.DEVICE", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("1 of 3 boxes fit no anchor and are left out\n")
    assert {number for number in re.findall(r"\| \w+ +\| +(\d+) \|", printed)} == {"2"}


def test_where_no_box_fits_it_is_said_in_a_sentence(monkeypatch, capsys):
    exactness = load_tool("research/exactness")
    flat = given((480, 640), [[0, 200, 640, 201]], [0])
    monkeypatch.setattr(exactness, "boxes_everywhere", lambda *_: flat)
    assert exactness.main(["--config-file", "synthetic/fcos_compact_FPN", "MODEL.DEVICE", "cpu"]) == 1
    assert capsys.readouterr().err == (
        "error: a box must fit an anchor of the detector; got 1 that don't: give more --boxes\n"
    )


def test_prints_how_far_group_norm_carried_and_frozen_are_from_exact(capsys):
    arguments = ["--config-file", "synthetic/fcos_compact_FPN", "--group-norm", "--images", "1"]
    options = ["MODEL.DEVICE", "cpu", "ODAM.FCOS.SCORE_THRESH_TEST", "0.5", "TEST.DETECTIONS_PER_IMAGE", "2"]
    with pytest.warns(UserWarning, match="frozen statistics"):
        assert load_tool("research/exactness").main([*arguments, *options]) == 0
    rows = re.findall(r"^\| (\w+) +\| *(\d+) +\| *(\d+) +\|(.*)\|$", capsys.readouterr().out, re.MULTILINE)
    medians = {}
    for kind, stride, maps, cells in rows:
        median, most, largest = [float(cell) for cell in cells.split("|")][:3]
        assert 0 < median <= most <= largest
        medians.setdefault(kind, {})[stride] = median, int(maps)
    assert list(medians) == ["carried", "frozen"] and list(medians["carried"]) == list(medians["frozen"])
    for (carried, maps), (frozen, same) in zip(*(one.values() for one in medians.values()), strict=True):
        assert carried < frozen and maps == same
    assert sum(maps for _, maps in medians["carried"].values()) == 12  # two detections, six attributes
