"""tools/research/odam_train_table.py: tables of made results, by hand; and the curves are drawn."""

import json

import cv2
import pytest

from tests.helpers import load_tool


@pytest.fixture(scope="module")
def tool():
    return load_tool("research/odam_train_table")


def result(variant, odi, seed=0):
    """What the sweep writes of a variant whose ODI is `odi` at iterations 100 and 200."""
    pairs = {"auc": {"maps": 0.7, "iou": 0.6, "both": 0.65}, "gain": 0.05}
    curve = {"100": odi, "200": odi / 2}
    return {
        "config": "synthetic/fcos_compact_FPN_odam_train", "variant": variant, "iterations": 200, "seed": seed,
        "hard_pairs_repool_0": pairs, "hard_pairs_repool_1": {**pairs, "auc": {**pairs["auc"], "maps": 0.75}},
        "coco": {"AP": 30.25, "AP50": 70.0}, "crowd": {"MR": 61.0, "JI": 62.04, "recall-heavy": 80.0},
        "explanations": {"odam/ODI_box": odi / 2, "odam/ODI_mask": 0.4},
        "curves": {"odam/ODI_box": curve, "odam/AUC_maps": {"200": 0.7}},
    }  # fmt: skip


@pytest.fixture
def files(tmp_path):
    made = [result("stock", 0.1), result("better", 0.06), result("better", 0.05, seed=1)]
    paths = [tmp_path / f"{number}.json" for number in range(len(made))]
    for path, one in zip(paths, made):
        path.write_text(json.dumps(one))
    return list(map(str, paths))


def cells(line):
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_tables_by_hand(tool, files):
    results = tool.read_results(files)
    rows = [cells(line) for line in tool.end_table(results).splitlines()[2:]]
    assert rows[1] == ["fcos", "better", "200", "0", "0.700 / 0.750", "+0.050 / +0.050", "30.2", "70.0", "61.0",
                       "62.0", "80.0", "0.030", "0.400"]  # fmt: skip
    curves = [cells(line) for line in tool.curve_table(results).splitlines()]
    assert curves[0][2:] == ["seed", "", "100", "200"]
    told = {tuple(row[1:4]): row[4:] for row in curves[2:]}
    assert told["stock", "0", "ODI (box)"] == ["0.100", "0.050"]
    assert told["better", "0", "ODI (box)"] == ["0.060 (-40 %)", "0.030 (-40 %)"]
    assert told["better", "1", "ODI (box)"] == ["0.050", "0.025"]
    assert told["better", "0", "AUC of maps on hard pairs"] == ["", "0.700"]
    # No stock run has this seed.
    assert tool.change_from_stock(results[2], results, "odam/ODI_box") == {}


def test_curves_are_drawn(tool, files, tmp_path, capsys):
    target = tmp_path / "curves.png"
    assert tool.main([*files, "--output", str(target)]) == 0
    assert "AUC of maps (repooled 0 / 1 / 2)" in capsys.readouterr().out
    image = cv2.imread(str(target))
    assert image.shape[1] > image.shape[0] > 200 and (image < 200).any()


@pytest.mark.parametrize("content", ["", "[]", '{"config": "a/b"}'])
def test_another_file_is_refused(tool, content, tmp_path, capsys):
    path = tmp_path / "x.json"
    path.write_text(content)
    assert tool.main([str(path)]) == 1
    assert "`results` must be files of odam_train_sweep.py; got" in capsys.readouterr().err
