"""Entries for a detector from records, also where an image can't be used."""

import numpy as np
import pytest
import torch
from detectron2.data import transforms
from detectron2.engine import DefaultPredictor
from PIL import Image

from odam_d2 import model_zoo
from odam_d2.data.inputs import ImageInputs, InputMaker


@pytest.fixture
def record(tmp_path):
    pixels = np.zeros((4, 6, 3), dtype=np.uint8)
    pixels[:, :, 0] = 200  # red
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return {"file_name": str(tmp_path / "a.png"), "image_id": 1, "height": 4, "width": 6, "annotations": []}


@pytest.mark.parametrize("order", ["BGR", "RGB"])
@pytest.mark.parametrize("sides", [(32, 64), (33, 40), (40, 40), (0, 40)])
@pytest.mark.parametrize("size", [(40, 60), (60, 40)])
def test_an_input_is_what_default_predictor_makes_of_the_image(order, sides, size):
    """Shrunk, enlarged, bounded by the longer side, and left as it is."""
    cfg = compact_config()
    cfg.INPUT.FORMAT, (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST) = order, sides
    image, seen = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8), []
    predictor = DefaultPredictor.__new__(DefaultPredictor)
    predictor.cfg, predictor.input_format = cfg, order
    predictor.aug = transforms.ResizeShortestEdge([cfg.INPUT.MIN_SIZE_TEST] * 2, cfg.INPUT.MAX_SIZE_TEST)
    predictor.model = lambda batch: seen.extend(batch) or [None]
    predictor(image)
    found = InputMaker.from_config(cfg)(image)
    assert torch.equal(found["image"], seen[0]["image"]) and found["image"].stride() == seen[0]["image"].stride()
    assert (found["height"], found["width"]) == (seen[0]["height"], seen[0]["width"]) == size


def compact_config():
    return model_zoo.get_config("synthetic/faster_rcnn_compact_FPN", trained=False)


def test_orders_of_colours_that_images_are_not_read_in():
    with pytest.raises(ValueError, match="`input_format` must be one of .*'YUV-BT.601'.; got 'HSV'"):
        InputMaker(input_format="HSV")


@pytest.mark.parametrize(
    "size, expected",
    [
        # 1 pixel of 4000 on 640 is 640 / 4000 = .16, no pixel at all for Detectron2.
        ((1, 4000), (1, 640)), ((4000, 1), (640, 1)), ((2, 100000), (1, 640)), ((1, 1), (480, 480)),
        ((3, 2000), (1, 640)),
    ],
)  # fmt: skip
def test_every_image_keeps_a_pixel_of_its_shorter_side(size, expected):
    image = np.full((*size, 3), 9, np.uint8)
    entry = InputMaker(480, 640)(image)
    assert entry["image"].shape == (3, *expected) and entry["image"].eq(9).all()


@pytest.mark.parametrize("order, channel", [("RGB", 0), ("BGR", 2)])
def test_images_are_resized_in_the_detectors_order_of_colours(record, order, channel):
    inputs = ImageInputs([record], InputMaker(8, 100, order))
    entry = inputs[0]
    assert len(inputs) == 1 and entry["image"].shape == (3, 8, 12)
    assert (entry["image"].amax((1, 2)) > 0).tolist() == [k == channel for k in range(3)]
    assert (entry["image_id"], entry["height"], entry["width"]) == (1, 4, 6)


def test_the_longer_side_has_a_limit(record):
    assert ImageInputs([record], InputMaker(8, 9))[0]["image"].shape == (3, 6, 9)


def test_what_can_not_be_used_says_why(record, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    gone, broken, other = ({**record, "file_name": str(tmp_path / f"{name}.png")} for name in ("gone", "broken", "a"))
    other["width"] = 7
    entries = [ImageInputs([gone, broken, other], InputMaker(8, 100))[k] for k in range(3)]
    assert [entry["missing"] for entry in entries] == [True, False, False]
    assert not any("image" in entry for entry in entries)
    assert "annotated size of 7 x 4; got 6 x 4" in entries[2]["failure"]


def test_a_record_without_a_size_takes_that_of_its_image(record, tmp_path):
    bare = {key: record[key] for key in ("file_name", "image_id")}
    gone = {**bare, "file_name": str(tmp_path / "gone.png")}
    entry, failed = ImageInputs([bare, gone], InputMaker(8, 100))
    assert (entry["image_id"], entry["height"], entry["width"]) == (1, 4, 6) and entry["image"].shape == (3, 8, 12)
    assert failed["missing"] and "height" not in failed
