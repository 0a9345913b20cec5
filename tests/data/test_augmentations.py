"""What may be done to images before a detector sees them."""

import numpy as np
import pytest
from detectron2.data import transforms as T  # noqa: N812

from odam_d2.data.augmentations import FixedAugmentations, Padding


class Brighter(T.Augmentation):
    """A project's own: the same at each call."""

    def get_transform(self, image):
        return T.BlendTransform(src_image=255, src_weight=0.5, dst_weight=0.5)


class Jumping(T.Augmentation):
    """A project's own that draws."""

    def get_transform(self, image):
        return T.ResizeTransform(*image.shape[:2], int(np.random.randint(20, 400)), 30)


def pixels(height=40, width=60):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "augmentations, size",
    [
        ([], (40, 60)),
        ([T.ResizeShortestEdge(20)], (20, 30)),
        ([T.ResizeShortestEdge((20, 20), 24)], (16, 24)),
        ([T.ResizeShortestEdge([30], sample_style="choice")], (30, 45)),
        ([T.Resize((50, 20))], (50, 20)),
        ([T.Resize(32)], (32, 32)),
        ([T.ResizeScale(1.0, 1.0, 80, 80)], (53, 80)),
        ([T.RandomFlip(prob=0.0), T.RandomApply(T.Resize((10, 10)), prob=1.0)], (10, 10)),
        ([T.ResizeTransform(40, 60, 80, 30), Brighter()], (80, 30)),
        ([T.ResizeShortestEdge(20), T.FixedSizeCrop((32, 32), pad=True)], (20, 30)),
        ([T.ResizeShortestEdge(20), T.FixedSizeCrop((20, 30), pad=False)], (20, 30)),
        ([T.RandomBrightness(1.2, 1.2)], (40, 60)),
    ],
)
def test_images_are_scaled(augmentations, size):
    """As Detectron2 itself applies them, but for the padding."""
    plain = T.AugInput(pixels())
    T.AugmentationList(augmentations)(plain)
    found = FixedAugmentations(augmentations)(pixels())
    assert found.shape[:2] == size and np.array_equal(found, plain.image[: size[0], : size[1]])


def test_padding_is_told():
    assert FixedAugmentations([T.Resize(20), T.FixedSizeCrop((32, 40), pad_value=7)]).padding == Padding(32, 40, 7.0)
    assert FixedAugmentations([T.FixedSizeCrop((32, 40), pad=False)]).padding is None


@pytest.mark.parametrize(
    "augmentation, reason",
    [
        (T.RandomCrop("absolute", (10, 10)), "RandomCrop, which cuts, turns or colours images at random"),
        (T.RandomFlip(), "RandomFlip, which turns images with a probability of 0.5"),
        (T.RandomFlip(prob=1.0), "RandomFlip, which turns images with a probability of 1.0"),
        (T.ResizeShortestEdge((20, 30)), r"ResizeShortestEdge, which draws a length of \(20, 30\)"),
        (T.ResizeShortestEdge([20, 30, 40], sample_style="choice"), "draws a length"),
        (T.ResizeScale(0.5, 1.0, 80, 80), "draws a scale of 0.5 to 1.0"),
        (T.RandomApply(T.Resize(10), prob=0.5), "is applied with a probability of 0.5"),
        (T.RandomApply(T.RandomFlip(), prob=1.0), "turns images"),
        (T.RandomRotation([0, 90]), "at random"),
        (T.RandomContrast(0.5, 1.5), "draws an intensity"),
    ],
)
def test_chance_is_refused(augmentation, reason):
    with pytest.raises(ValueError, match=f"must do the same at each call; got .*{reason}.*: leave it out"):
        FixedAugmentations([augmentation])


def test_a_crop_before_the_end_is_refused():
    with pytest.raises(ValueError, match="got FixedSizeCrop"):
        FixedAugmentations([T.FixedSizeCrop((20, 20)), T.Resize(10)])


@pytest.mark.parametrize(
    "augmentation", [T.HFlipTransform(60), T.CropTransform(5, 5, 20, 20), T.CropTransform(0, 0, 20, 20),
                     T.PadTransform(1, 1, 0, 0), T.PadTransform(0, 0, 3, 3), T.RotationTransform(40, 60, 90)],
)  # fmt: skip
def test_what_moves_turns_cuts_or_pads_an_image_is_refused(augmentation):
    with pytest.raises(ValueError, match="must scale images only; got .*an image of 60 x 40"):
        FixedAugmentations([augmentation])(pixels())


def test_an_image_that_would_be_cut_is_refused():
    augment = FixedAugmentations([T.FixedSizeCrop((32, 80))])
    assert augment(pixels(30, 70)).shape == (30, 70, 3)
    with pytest.raises(ValueError, match="would cut one of 60 x 40 to 80 x 32 at random"):
        augment(pixels())


def test_a_projects_own_is_tried_for_chance_and_numpys_stays_as_it_is():
    np.random.seed(5)
    state = np.random.get_state()[1].copy()
    FixedAugmentations([Brighter()])(pixels())
    assert np.array_equal(np.random.get_state()[1], state)
    with pytest.raises(ValueError, match=r"must do the same at each call; got other images from \['Jumping'\]"):
        FixedAugmentations([Jumping()])(pixels())
