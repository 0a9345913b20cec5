"""Test mappers of LazyConfigs: Detectron2's own, and projects' that began with it."""

import numpy as np
import pytest
import torch
from detectron2.config import LazyCall
from detectron2.data import DatasetMapper, detection_utils
from detectron2.data import transforms as T  # noqa: N812
from omegaconf import OmegaConf
from PIL import Image

from odam_d2.data.inputs import FORMATS, shown
from odam_d2.data.mapper import input_maker, mapper_format


class OtherMapper:
    """A stand-in for projects' mappers: other names for the same."""

    def __init__(self, augmentation, img_format, is_train=False, darker=1.0, needs=()):
        self.augmentation, self.img_format, self.is_train = augmentation, img_format, is_train
        self.darker, self.needs = darker, needs

    def __call__(self, record):
        for name in self.needs:
            record[name]
        image = detection_utils.read_image(record["file_name"], format=self.img_format)
        image, _ = T.apply_transform_gens(list(self.augmentation), image)
        return {**record, "image": torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1))) * self.darker}


def lazily(mapper):
    cfg = OmegaConf.create({"dataloader": {"test": {}}}, flags={"allow_objects": True})
    cfg.dataloader.test.mapper = mapper
    return cfg


def noise(height=30, width=50):
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("input_format", FORMATS)
@pytest.mark.parametrize(
    "augmentations",
    [[], [LazyCall(T.ResizeShortestEdge)(short_edge_length=24, max_size=36)], [LazyCall(T.Resize)(shape=(40, 31))]],
)
def test_inputs_are_those_of_detectron2s_own_mapper(tmp_path, input_format, augmentations):
    """Bit for bit, whatever the format: grey and YUV are resized after they are converted."""
    call = LazyCall(DatasetMapper)(is_train=False, augmentations=augmentations, image_format=input_format)
    cfg = lazily(call)
    Image.fromarray(noise()).save(tmp_path / "a.png")
    plain = DatasetMapper(False, augmentations=[T.Resize((1, 1))], image_format=input_format)
    plain.augmentations = T.AugmentationList([step._target_(**{k: v for k, v in step.items() if k != "_target_"})
                                              for step in augmentations])  # fmt: skip
    expected = plain({"file_name": str(tmp_path / "a.png"), "height": 30, "width": 50})["image"].float()
    found = input_maker(cfg)(noise()[:, :, ::-1])
    assert torch.equal(found["image"], expected) and (found["height"], found["width"]) == (30, 50)
    assert mapper_format(cfg, "test") == input_format


@pytest.mark.parametrize("input_format", FORMATS)
def test_an_input_can_be_looked_at_in_every_format(input_format):
    cfg = lazily(LazyCall(DatasetMapper)(is_train=False, augmentations=[], image_format=input_format))
    seen = shown(input_maker(cfg)(noise()[:, :, ::-1])["image"], input_format)
    expected = noise() if input_format != "L" else np.asarray(Image.fromarray(noise()).convert("L"))[..., None]
    assert seen.dtype == np.uint8 and np.abs(seen.astype(int) - expected).max() <= 1  # YUV is truncated


def test_a_projects_own_mapper_is_understood_and_tried():
    steps = [LazyCall(T.ResizeShortestEdge)(short_edge_length=24, max_size=36)]
    maker = input_maker(lazily(LazyCall(OtherMapper)(augmentation=steps, img_format="RGB")))
    assert maker.input_format == "RGB" and maker(noise())["image"].shape == (3, 22, 36)


def test_a_mapper_that_makes_something_else_of_images_is_refused():
    with pytest.raises(ValueError, match=r"got other pixels from OtherMapper, \(3, 48, 80\) beside \(3, 48, 80\)"):
        input_maker(lazily(LazyCall(OtherMapper)(augmentation=[], img_format="RGB", darker=0.5)))


def test_a_mapper_that_can_not_be_tried_is_taken_at_its_word(caplog):
    input_maker(lazily(LazyCall(OtherMapper)(augmentation=[], img_format="RGB", needs=["sem_seg_file_name"])))
    assert "OtherMapper couldn't be tried (KeyError: 'sem_seg_file_name')" in caplog.text


@pytest.mark.parametrize(
    "call, message",
    [
        (LazyCall(OtherMapper)(augmentation=[], img_format="RGB", is_train=True), "whose is_train can't be used"),
        (LazyCall(list)(), "got a list, whose augmentations and an image_format can't be used"),
        (LazyCall(OtherMapper)(img_format="RGB"), "building it failed with TypeError"),
        (LazyCall(OtherMapper)(augmentation=[], img_format="HSV"), "`input_format` must be one of"),
    ],
)
def test_mappers_that_say_too_little(call, message):
    with pytest.raises(ValueError, match=message):
        input_maker(lazily(call))
