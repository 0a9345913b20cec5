"""Detectron2's zoo: a sample in every run, all of its configs and those of further folders with ``--zoo``.

Further folders are named by the environment variable ``ODAM_ZOO_CONFIGS``, separated as in ``PATH``.
"""

import json
from pathlib import Path

import pytest

from tests.helpers import load_tool

ROOT = Path(__file__).resolve().parents[2]
zoo = load_tool("research/zoo")
ROWS = {row["name"]: row for row in json.loads((ROOT / "docs" / "research" / "zoo.json").read_text())["rows"]}
# Of each family and each way to build it, small.
SAMPLE = [
    f"variants/{name}"
    for name in (
        "faster_rcnn_FPN_LN", "faster_rcnn_FPN_ROIPool", "faster_rcnn_C4_bottlenecks",
        "fast_rcnn_FPN_cascade", "mask_rcnn_FPN_keypoints", "mask_rcnn_FPN_point_rend", "panoptic_fpn",
        "rpn_FPN_2conv", "retinanet_FPN_BN", "fcos_FPN_GN", "mask_rcnn_RegNet", "semantic",
    )
]  # fmt: skip
# What has no detections, or rotated ones.
REFUSED = ("SemanticSegmentor", "PanopticDeepLab", "RROIHeads", "RRPN")
_FOUND: dict[str, object] = {}


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        cases = zoo.all_cases()
        everything = metafunc.config.getoption("--zoo")
        chosen = cases if everything else [case for case in cases if case.name in SAMPLE]
        marks = [pytest.mark.slow] if everything else []
        metafunc.parametrize("case", [pytest.param(case, id=case.name, marks=marks) for case in chosen])


def row_of(case):
    """What comes of a case; detectors of one description are built once."""
    if case.description not in _FOUND:
        _FOUND[case.description] = zoo.examine(case, built=True)
    return _FOUND[case.description]


def test_what_stock_detectron2_says_is_said_and_explained_as_listed(case):
    row, listed = row_of(case), ROWS.get(case.name)
    if row.status == "refused":
        assert any(name in row.architecture for name in REFUSED), row.note
    else:
        assert row.status in ("explained", "not run"), row.note
    if row.status == "explained":
        assert row.detections > 0 and row.difference <= zoo.TOLERANCE
    # Another supply of Detectron2 can run what this one can't, and has other configs.
    if listed is not None and listed["status"] != "not run":
        assert (row.status, row.engine) == (listed["status"], listed["engine"]), row.note


def test_the_sample_has_a_dozen_cases():
    assert len(SAMPLE) == 12 and set(SAMPLE) <= {case.name for case in zoo.all_cases()} & set(ROWS)


def test_the_table_has_no_detector_that_is_refused_or_differs():
    assert not [name for name, row in ROWS.items() if row["status"] == "differs"]
    refused = [row["architecture"] for row in ROWS.values() if row["status"] == "refused"]
    assert refused and all(any(name in one for name in REFUSED) for one in refused)
    assert all(row["difference"] <= zoo.TOLERANCE for row in ROWS.values() if row["status"] == "explained")


def test_the_page_is_the_table():
    read = json.loads((ROOT / "docs" / "research" / "zoo.json").read_text())
    assert (ROOT / "docs" / "research" / "zoo.md").read_text() == zoo.page(read["rows"], read["versions"])


def test_a_further_folder_of_configs(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "small.yaml").write_text("MODEL:\n  META_ARCHITECTURE: RetinaNet\n")
    (tmp_path / "mine" / "parts.py").write_text("optimizer = 1\n")
    monkeypatch.setenv("ODAM_ZOO_CONFIGS", str(tmp_path / "mine"))
    assert [case.name for case in zoo.all_cases() if case.name.startswith("mine/")] == ["mine/small.yaml"]
    (tmp_path / "mine" / "small.yaml").write_text("MINE: {}\n")
    (case,) = [case for case in zoo.all_cases() if case.name == "mine/small.yaml"]
    assert "Non-existent config key: MINE" in zoo.examine(case).note
    (tmp_path / "keys.py").write_text("def add_mine_config(cfg):\n    cfg.MINE = type(cfg)()\n")
    monkeypatch.setenv("ODAM_ZOO_HOOKS", f"{tmp_path / 'keys.py'}:add_mine_config")
    assert case.read().MINE == {}
    monkeypatch.setenv("ODAM_ZOO_CONFIGS", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="ODAM_ZOO_CONFIGS must name folders; got .*none"):
        zoo.all_cases()
