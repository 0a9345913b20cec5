"""The image of a grid over thresholds."""

import cv2

from odam_d2.visualize.tuning_chart import write_tuning_chart


def row(way, value, **thresholds):
    return {"way": way, "thresholds": thresholds, "figures": {"AP": value, "MR": 100 - value}}


ROWS = [
    row("nms", 50.0, iou_threshold=0.5),
    row("nms", 60.0, iou_threshold=0.6),
    row("soft_gaussian", 55.0, sigma=0.5),
    row("odam_nms", 61.0, iou_threshold=0.5, low=0.2, high=0.8),
    row("odam_nms", 62.0, iou_threshold=0.5, low=0.3, high=0.9),
]


def test_a_row_of_panels_for_each_metric(tmp_path):
    heights = []
    for metrics in (["AP"], ["AP", "MR"]):
        write_tuning_chart(tmp_path / "tune.png", ROWS, metrics, ["MR"])
        heights.append(cv2.imread(str(tmp_path / "tune.png")).shape[0])
    assert heights[1] == 2 * heights[0]
    assert list(tmp_path.iterdir()) == [tmp_path / "tune.png"]


def test_other_values_are_another_image_and_missing_ones_are_none(tmp_path):
    images = []
    for rows in (ROWS, ROWS[:-1], ROWS[:2], [{**ROWS[0], "figures": {}}]):
        write_tuning_chart(tmp_path / "tune.png", rows, ["AP"], [])
        images.append((tmp_path / "tune.png").read_bytes())
    assert len(set(images)) == 4
