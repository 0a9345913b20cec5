"""The image of mean maps."""

import cv2
import numpy as np
from matplotlib.axes import Axes

from odam_d2.visualize.atlas_chart import write_atlas_chart

SPAN = (-0.5, 1.5)


def write(path, means, names=("dog",), counts=None, reach=0.125):
    means = np.asarray(means, dtype=float)
    bounds = np.stack([means - reach, means + reach])
    counts = np.full(means.shape[:2], 3) if counts is None else counts
    write_atlas_chart(path, means, bounds, counts, names, [f"a{k}" for k in range(means.shape[1])], SPAN)
    return cv2.imread(str(path))


def test_a_panel_for_each_class_and_attribute(tmp_path):
    one = write(tmp_path / "a.png", np.zeros((1, 1, 4, 4)))
    wide = write(tmp_path / "a.png", np.zeros((1, 3, 4, 4)))
    tall = write(tmp_path / "a.png", np.zeros((3, 1, 4, 4)), ("dog", "cat", "_$x$"))
    assert wide.shape[1] > one.shape[1] and tall.shape[0] > one.shape[0]
    assert list(tmp_path.iterdir()) == [tmp_path / "a.png"]


def test_heat_stands_where_it_is_and_what_is_not_known_is_grey(tmp_path):
    hot = np.zeros((1, 1, 4, 4))
    hot[0, 0, 0, 3] = 1.0  # above, on the right
    hot[0, 0, 3, 0] = np.nan  # below, on the left
    image = write(tmp_path / "a.png", hot).astype(int)
    blue, green, red = image[..., 0], image[..., 1], image[..., 2]
    rows, columns = np.nonzero((red > green + 60) & (red > blue + 60))  # turbo ends in dark red
    grey = (np.abs(blue - 204) < 3) & (np.abs(green - 204) < 3) & (np.abs(red - 204) < 3)
    grey_rows, grey_columns = np.nonzero(grey)
    assert len(rows) > 100 and len(grey_rows) > 100
    assert rows.max() < grey_rows.mean() and columns.min() > np.median(grey_columns)


def test_the_highest_mean_has_its_count_and_interval(tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(Axes, "set_title", lambda self, text, **_: titles.append(text))
    means = np.zeros((1, 2, 4, 4))
    means[0, 0, 1, 2] = 0.5
    write(tmp_path / "a.png", means, counts=np.array([[7, 3]]))
    write(tmp_path / "a.png", means, counts=np.array([[7, 3]]), reach=np.nan)
    assert titles == [
        "a0\nn = 7, 0.50 [0.38, 0.62]",
        "a1\nn = 3, 0.00 [-0.12, 0.12]",
        "a0\nn = 7, 0.50",
        "a1\nn = 3, 0.00",
    ]


def test_classes_without_a_map(tmp_path):
    write(tmp_path / "a.png", np.full((1, 2, 4, 4), np.nan), counts=np.zeros((1, 2)))
    assert (tmp_path / "a.png").stat().st_size > 1000
