"""Bundled detectors by name."""

from pathlib import Path

import pytest
import torch
from detectron2.structures import Boxes, pairwise_iou

from odam_d2 import model_zoo
from odam_d2.data.synthetic import SyntheticScenes
from tests.wants import require_package

NAME = "synthetic/faster_rcnn_compact_FPN"
BUNDLED = model_zoo.available()


def test_what_is_bundled():
    assert NAME in BUNDLED


@pytest.mark.parametrize("name", BUNDLED)
def test_weights_are_small_plain_and_fit_without_a_word(name):
    if "detr" in name:
        require_package("transformers")
    path = Path(model_zoo.get_checkpoint_path(name))
    assert path.stat().st_size <= 8_000_000
    weights = torch.load(path, weights_only=True)["model"]
    model = model_zoo.get(name, trained=False, device="cpu")
    assert set(weights) == set(model.state_dict())
    trained = model_zoo.get(name, device="cpu")
    assert not trained.training
    for key, value in trained.state_dict().items():
        assert value.dtype == model.state_dict()[key].dtype
        assert torch.equal(value, torch.as_tensor(weights[key]).to(value.dtype)), key


def test_names_with_and_without_suffix():
    assert model_zoo.get_config_file(NAME) == model_zoo.get_config_file(NAME + ".yaml")
    assert Path(model_zoo.get_config_file(NAME)).is_file()


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="nothing.*" + NAME):
        model_zoo.get_config_file("nothing")
    with pytest.raises(ValueError, match=NAME):
        model_zoo.get("synthetic/nothing")


def test_trained_detector_finds_what_is_in_a_scene():
    """A picture that training never saw: most objects are found, and most of what is found is there."""
    model, found, there, right = model_zoo.get(NAME, device="cpu"), 0, 0, 0
    for image, record in (SyntheticScenes("scene", "val")[index] for index in range(4)):
        tensor = torch.as_tensor(image.transpose(2, 0, 1).astype("float32"))
        with torch.no_grad():
            result = model([{"image": tensor, "height": 480, "width": 640}])[0]["instances"]
        result = result[result.scores > 0.5]
        truth = [a for a in record["annotations"] if not a["iscrowd"]]
        boxes = Boxes(torch.tensor([a["bbox"] for a in truth], dtype=torch.float32))
        classes = torch.tensor([a["category_id"] for a in truth])
        hit = (pairwise_iou(result.pred_boxes, boxes) > 0.5) & (result.pred_classes[:, None] == classes)
        found, there, right = found + len(result), there + len(truth), right + int(hit.any(0).sum())
    assert right >= 0.8 * there and right >= 0.7 * found
