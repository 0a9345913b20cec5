"""Bundled detectors by name."""

from pathlib import Path

import pytest
import torch
from detectron2 import model_zoo as detectron2_zoo
from detectron2.structures import Boxes, pairwise_iou

from odam_d2 import model_zoo
from odam_d2.data.synthetic.scenes import SyntheticScenes
from odam_d2.model_zoo.addresses import WEIGHTS
from odam_d2.utils.checkpoint import load_checkpoint_strictly
from odam_d2.utils.packed import is_packed
from tests.wants import require_package

NAME = "synthetic/faster_rcnn_compact_FPN"
BUNDLED = model_zoo.available()


def test_what_is_bundled():
    assert NAME in BUNDLED


def test_the_bundled_files_are_small():
    """All clones and wheels carry them, and git keeps each version of them."""
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*")) <= 17_000_000


@pytest.mark.parametrize("name", BUNDLED)
def test_weights_are_plain_and_fit_without_a_word(name):
    if "detr" in name:
        require_package("transformers")
    packed = torch.load(WEIGHTS / f"{name}.pth", weights_only=True)
    assert is_packed(packed)
    weights = torch.load(model_zoo.get_checkpoint_path(name), weights_only=True)["model"]
    model = model_zoo.get(name, trained=False, device="cpu")
    assert set(weights) == set(model.state_dict())
    trained = model_zoo.get(name, device="cpu")
    assert not trained.training
    for key, value in trained.state_dict().items():
        assert value.dtype == model.state_dict()[key].dtype
        assert torch.equal(value, torch.as_tensor(weights[key]).to(value.dtype)), key


def test_a_bundled_file_itself_can_be_named():
    model = model_zoo.get(NAME, trained=False, device="cpu")
    load_checkpoint_strictly(model, WEIGHTS / f"{NAME}.pth")
    trained = model_zoo.get(NAME, device="cpu").state_dict()
    assert all(torch.equal(value, trained[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", BUNDLED)
def test_configs_begin_with_what_the_differences_are_from(name):
    base = torch.load(WEIGHTS / f"{name}.pth", weights_only=True)["base"]
    assert (base or "") == model_zoo.get_config(name, trained=False).MODEL.WEIGHTS
    assert model_zoo.get_config(name).MODEL.WEIGHTS == model_zoo.get_checkpoint_url(name) == f"odam://{name}.pth"


def test_names_with_and_without_suffix():
    assert model_zoo.get_config_file(NAME) == model_zoo.get_config_file(NAME + ".yaml")
    assert Path(model_zoo.get_config_file(NAME)).is_file()


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="nothing.*" + NAME):
        model_zoo.get_config_file("nothing")
    with pytest.raises(ValueError, match=NAME):
        model_zoo.get("synthetic/nothing")
    with pytest.raises(ValueError, match=NAME):
        model_zoo.get_checkpoint_path("synthetic/nothing")


def test_trained_detector_finds_what_is_in_a_scene():
    """An image that training never saw: most objects are found, and most of what is found is there."""
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


def test_names_of_either_zoo(tmp_path):
    """A name that both have is Detectron2's with its suffix, ours without; the weights are the same."""
    name = "COCO-Detection/faster_rcnn_R_50_FPN_3x"
    (ours, weights), (theirs, same) = model_zoo.find(name), model_zoo.find(f"{name}.yaml")
    assert ours == model_zoo.get_config_file(name) and theirs == detectron2_zoo.get_config_file(f"{name}.yaml")
    assert weights == same == detectron2_zoo.get_checkpoint_url(f"{name}.yaml")
    assert model_zoo.get_config(name).MODEL.WEIGHTS == weights
    assert model_zoo.get_config(name, trained=False).MODEL.WEIGHTS.endswith("R-50.pkl")
    assert model_zoo.find(NAME) == model_zoo.find(f"{NAME}.yaml") == (
        model_zoo.get_config_file(NAME), model_zoo.get_checkpoint_url(NAME),
    )  # fmt: skip
    assert model_zoo.find(model_zoo.get_config_file(NAME))[1] == model_zoo.get_checkpoint_url(NAME)
    # Ours alone has FCOS, theirs alone ResNet-101 with keypoints; a file is what it is.
    assert model_zoo.find("COCO-Detection/fcos_R_50_FPN_1x.yaml")[1] is None
    assert "detectron2" in model_zoo.find("COCO-Keypoints/keypoint_rcnn_R_101_FPN_3x")[0]
    (tmp_path / "my.yaml").touch()
    assert model_zoo.find(tmp_path / "my.yaml") == (str(tmp_path / "my.yaml"), None)
    with pytest.raises(ValueError, match="`name` must be a bundled detector; got 'COCO-Detection/fcos_R_50_FPN_1x'"):
        model_zoo.get_config("COCO-Detection/fcos_R_50_FPN_1x")
