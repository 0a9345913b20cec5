"""Red stays red on its way through ``odam explain``, from file to files."""

import numpy as np
from PIL import Image

from tests.cli.test_explain import run, tool, weights  # noqa: F401  fixtures


def test_images_keep_their_colours(run, tmp_path):  # noqa: F811
    Image.new("RGB", (60, 40), (200, 30, 10)).save(tmp_path / "red.png")
    code, output = run(tmp_path / "red.png", threshold="0")
    assert code == 0
    files = [*(output / "report").rglob("*.jpg")]
    files += [output / "red" / "overlay.jpg", *(output / "red").glob("det_*.jpg")]
    assert len(files) == 5  # two detections have a strip each
    for file in files:
        pixels = np.asarray(Image.open(file).convert("RGB")).astype(int).reshape(-1, 3)
        red = (abs(pixels - [200, 30, 10]) <= 12).all(1)  # JPEG rounds
        assert red.mean() > 0.1 and not (abs(pixels - [10, 30, 200]) <= 12).all(1).any()
