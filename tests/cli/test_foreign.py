"""A detector that isn't Detectron2's, from a LazyConfig through the commands, its maps of two levels."""

import json

import cv2
import numpy as np
import pytest
import torch

from tests.helpers import load_command

CONFIG = """
import torch
from detectron2.config import LazyCall as L
from detectron2.data import DatasetMapper
from omegaconf import OmegaConf
from torch import nn

from odam_d2 import CallableDetector


class Bright(nn.Module):
    \"\"\"Two things in every image: one as bright as the cell (1, 2) of 8 px, one that counts for little.\"\"\"

    def __init__(self, weights):
        super().__init__()
        self.fine, self.coarse = nn.AvgPool2d(8), nn.AvgPool2d(16)
        self.register_buffer("weight", torch.load(weights, weights_only=True))

    def forward(self, batched_inputs):
        images = torch.stack([x["image"] for x in batched_inputs]).mean(1, keepdim=True) / 255
        fine, coarse = self.fine(images)[:, 0], self.coarse(images)[:, 0]
        boxes = torch.tensor([[16.0, 8.0, 24.0, 16.0], [0.0, 0.0, 8.0, 8.0]])
        return [
            {
                "boxes": boxes + 0 * c.sum(),
                "scores": torch.stack([self.weight * f[1, 2] + 0.125 * c[0, 1], 0.1 * c[0, 0] + 0.2]),
                "classes": torch.tensor([1, 0]),
            }
            for f, c in zip(fine, coarse)
        ]


model = L(CallableDetector)(
    model=L(Bright)(weights="WEIGHTS"), layers=["fine", "coarse"], strides=[8, 16], frame="input", num_classes=2
)
dataloader = OmegaConf.create()
dataloader.test = dict(mapper=L(DatasetMapper)(is_train=False, augmentations=[], image_format="BGR"))
"""


@pytest.fixture
def foreign(tmp_path):
    """The config, and two images of 32 x 32 px with a white square, annotated with its mask and its box."""
    (tmp_path / "images").mkdir()
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[8:16, 16:24] = 255
    square = {"bbox": [16, 8, 8, 8], "area": 64, "iscrowd": 0, "segmentation": [[16, 8, 24, 8, 24, 16, 16, 16]]}
    content = {
        "images": [{"id": k, "file_name": f"{k}.png", "height": 32, "width": 32} for k in (1, 2)],
        "annotations": [{"id": 10 + k, "image_id": k, "category_id": 7, **square} for k in (1, 2)],
        "categories": [{"id": 4, "name": "dot"}, {"id": 7, "name": "square"}],
    }
    for about in content["images"]:
        cv2.imwrite(str(tmp_path / "images" / about["file_name"]), pixels)
    (tmp_path / "objects.json").write_text(json.dumps(content))
    torch.save(torch.tensor(0.75), tmp_path / "bright.pt")
    (tmp_path / "bright.py").write_text(CONFIG.replace("WEIGHTS", str(tmp_path / "bright.pt")))
    return tmp_path


def evaluate(folder, *more):
    words = ["--config-file", folder / "bright.py", "--annotations", folder / "objects.json"]
    words += ["--images", folder / "images", "--output", folder / "measured", "--methods", "odam", "gradcam"]
    words += ["--metrics", "pointing_mask", "energy_mask", *more]
    return load_command("evaluate").main([str(word) for word in words])


def test_evaluate(foreign):
    assert evaluate(foreign) == 0
    found = json.loads((foreign / "measured" / "metrics.json").read_text())
    # Of two detections an image the one with a score of .2 is below the command's threshold of .5.
    assert found["counts"]["detections"] == found["counts"]["matched"] == 2
    means = {name: found["metrics"][name]["methods"] for name in ("pointing_mask", "energy_mask")}
    # .75 f12 + .125 c01 = .75 + .125 / 4, and its map is highest at f12.
    assert means["pointing_mask"]["odam"]["mean"] == 1.0
    # Grad-CAM spreads the mean gradient .75 / 16 over all bright cells, of which f12 is the only one.
    assert means["pointing_mask"]["gradcam"]["mean"] == 1.0
    assert 0.2 < means["energy_mask"]["odam"]["mean"] < 1.0


def test_a_run_goes_on_with_the_same_weights_alone(foreign, capsys):
    assert evaluate(foreign, "--max-images", 1) == 0
    assert evaluate(foreign, "--max-images", 2, "--resume") == 0
    torch.save(torch.tensor(0.8), foreign / "bright.pt")
    assert evaluate(foreign, "--max-images", 2, "--resume") == 1
    assert "weights" in capsys.readouterr().err


def test_explain(foreign):
    words = ["--config-file", foreign / "bright.py", "--input", foreign / "images", "--output", foreign / "explained"]
    words += ["--score-threshold", 0.1, "--max-detections", 1, "--class-names", "dot", "square"]
    assert load_command("explain").main([str(word) for word in words]) == 0
    about = json.loads((foreign / "explained" / "run.json").read_text())
    assert about["architecture"] == "CallableDetector" and [one["detections"] for one in about["images"]] == [1, 1]
    assert list((foreign / "explained" / "1").glob("det_*_square_*.jpg"))
