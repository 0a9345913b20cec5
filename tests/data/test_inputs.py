"""Entries for a detector from records, also where an image can't be used."""

import numpy as np
import pytest
from PIL import Image

from odam_d2.data.inputs import ImageInputs


@pytest.fixture
def record(tmp_path):
    pixels = np.zeros((4, 6, 3), dtype=np.uint8)
    pixels[:, :, 0] = 200  # red
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return {"file_name": str(tmp_path / "a.png"), "image_id": 1, "height": 4, "width": 6, "annotations": []}


@pytest.mark.parametrize("rgb, channel", [(True, 0), (False, 2)])
def test_images_are_resized_in_the_detectors_order_of_colours(record, rgb, channel):
    inputs = ImageInputs([record], 8, 100, rgb)
    entry = inputs[0]
    assert len(inputs) == 1 and entry["image"].shape == (3, 8, 12)
    assert (entry["image"].amax((1, 2)) > 0).tolist() == [k == channel for k in range(3)]
    assert (entry["image_id"], entry["height"], entry["width"]) == (1, 4, 6)


def test_the_longer_side_has_a_limit(record):
    assert ImageInputs([record], 8, 9)[0]["image"].shape == (3, 6, 9)


def test_what_can_not_be_used_says_why(record, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    gone, broken, other = ({**record, "file_name": str(tmp_path / f"{name}.png")} for name in ("gone", "broken", "a"))
    other["width"] = 7
    entries = [ImageInputs([gone, broken, other], 8, 100)[k] for k in range(3)]
    assert [entry["missing"] for entry in entries] == [True, False, False]
    assert not any("image" in entry for entry in entries)
    assert "annotated size of 7 x 4; got 6 x 4" in entries[2]["failure"]
