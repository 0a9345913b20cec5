"""The image of whose detections look at whom."""

import cv2
import numpy as np

from odam_d2.visualize.context_chart import write_context_chart


def write(path, share, names):
    share = np.asarray(share, dtype=float)
    counts = np.where(np.isnan(share), 0, 5)
    write_context_chart(path, share, counts, share - 0.1, share + 0.1, names, ["own object", "background"])
    return cv2.imread(str(path))


def test_other_shares_are_another_image(tmp_path):
    share = np.array([[0.1, 0.2, 0.6, 0.1], [np.nan, 0.0, 0.9, 0.1]])
    first = write(tmp_path / "a.png", share, ["dog", "$c_a$t"])
    assert list(tmp_path.iterdir()) == [tmp_path / "a.png"]
    share[0, 1] = 0.05
    assert not np.array_equal(first, write(tmp_path / "a.png", share, ["dog", "$c_a$t"]))


def test_one_class_many_and_nothing(tmp_path):
    for count in (1, 80):
        share = np.random.default_rng(0).random((count, count + 2))
        assert write(tmp_path / "a.png", share, [f"class {k}" for k in range(count)]).shape[0] > 200
    assert write(tmp_path / "a.png", np.full((2, 4), np.nan), ["a", "b"]).shape[0] > 200
