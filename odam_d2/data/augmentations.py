"""What is done to an image before a detector sees it, as a list of Detectron2's augmentations without chance in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.data import transforms as T  # noqa: N812  Detectron2's own habit

from .resizing import ResizeShortestEdge

_TRIALS = 4  # how many times an augmentation of a project's own is tried for chance


@dataclass(frozen=True)
class Padding:
    """What is added to an image on its right and below, before a detector sees it.

    Attributes:
        height: of the image with it, in pixels.
        width: as `height`.
        value: of the pixels that are added, in the detector's format and range.
    """

    height: int
    width: int
    value: float


class FixedAugmentations:
    """Brings images to a detector's size, the same for the same image at each call.

    An image may be scaled, by other factors along x and y too, and padded on its right and below; what moves, turns or
    cuts it is refused, since a detection's place in the original would be lost.

    Args:
        augmentations: Detectron2's augmentations or transforms, in their order. A ``FixedSizeCrop`` may only come last.

    Attributes:
        padding: what the last of them adds; None if that is nothing. It isn't added here: the detector's results are
            to be told in the frame of the image without it, see :mod:`odam_d2.meta_arch.padded`.

    Raises:
        ValueError: if one of them depends on chance, or cuts images.
    """

    def __init__(self, augmentations: Sequence[Any]):
        steps = [ResizeShortestEdge.of(one) if type(one) is T.ResizeShortestEdge else one for one in augmentations]
        self.limit = steps.pop() if steps and type(steps[-1]) is T.FixedSizeCrop else None
        for step in steps:
            reason = _chance_in(step)
            if reason is not None:
                raise ValueError(
                    f"the augmentations of a test mapper must do the same at each call; got {_name(step)}, which "
                    f"{reason}: leave it out of dataloader.test.mapper"
                )
        self.unknown = [step for step in steps if not _is_known(step)]
        self.steps = T.AugmentationList(steps)
        self.padding = None
        if self.limit is not None and self.limit.pad:
            height, width = _pair(self.limit.crop_size)
            self.padding = Padding(height, width, float(self.limit.pad_value))

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """The image at the detector's size, without padding.

        Args:
            pixels: (h, w, c) in the detector's format.

        Raises:
            ValueError: if the image would be moved, turned or cut, or not come out the same a second time.
        """
        seen = T.AugInput(pixels)
        transforms = self.steps(seen)
        _require_in_place(transforms, pixels.shape[:2], seen.image.shape[:2])
        if self.unknown:
            self._require_repeatable(pixels, seen.image)
        if self.limit is not None:
            height, width = _pair(self.limit.crop_size)
            if seen.image.shape[0] > height or seen.image.shape[1] > width:
                raise ValueError(
                    "the FixedSizeCrop of a test mapper must not cut images; it would cut one of "
                    f"{seen.image.shape[1]} x {seen.image.shape[0]} to {width} x {height} at random: resize images "
                    "before to what it leaves whole"
                )
        return seen.image

    def _require_repeatable(self, pixels: np.ndarray, expected: np.ndarray) -> None:
        state = np.random.get_state()
        try:
            for trial in range(_TRIALS):
                np.random.seed(trial)
                again = T.AugInput(pixels)
                self.steps(again)
                if not np.array_equal(again.image, expected):
                    raise ValueError(
                        "the augmentations of a test mapper must do the same at each call; got other images from "
                        f"{[_name(step) for step in self.unknown]}: leave what is random out of dataloader.test.mapper"
                    )
        finally:
            np.random.set_state(state)
        self.unknown = []


def _require_in_place(transforms: Any, size: Sequence[int], seen: Sequence[int]) -> None:
    """Raises ValueError unless corner (0, 0) stays there and the opposite one is brought to that of the new image."""
    height, width = size
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], dtype=np.float64)
    found = np.asarray(transforms.apply_coords(corners.copy()))
    wanted = np.array([[0, 0], [seen[1], 0], [0, seen[0]], [seen[1], seen[0]]])
    if not np.allclose(found, wanted, atol=1e-3):
        names = [type(one).__name__ for one in getattr(transforms, "transforms", [transforms])]
        raise ValueError(
            f"the augmentations of a test mapper must scale images only; got {names}, which bring the corners of an "
            f"image of {width} x {height} to {np.round(found, 1).tolist()} in one of {seen[1]} x {seen[0]}: leave out "
            "what moves, turns, cuts or pads, except a FixedSizeCrop at the end"
        )


def _chance_in(step: Any) -> str | None:
    """In a few words, what one of Detectron2's augmentations leaves to chance; None if that is nothing."""
    judge = _CHANCE.get(type(step))
    return judge(step) if judge is not None else None


def _is_known(step: Any) -> bool:
    if type(step) is T.RandomApply:
        return step.prob == 0 or _is_known(step.aug)
    return type(step) in _CHANCE or isinstance(step, T.Transform)


def _one_length(step: Any) -> str | None:
    return None if len(set(step.short_edge_length)) == 1 else f"draws a length of {tuple(step.short_edge_length)}"


def _one_scale(step: Any) -> str | None:
    return None if step.min_scale == step.max_scale else f"draws a scale of {step.min_scale} to {step.max_scale}"


def _one_shape(step: Any) -> str | None:
    return None if len(step.shape_list) == 1 else "draws a shape"


def _certain(step: Any) -> str | None:
    if step.prob == 0:
        return None
    return _chance_in(step.aug) if step.prob == 1 else f"is applied with a probability of {step.prob}"


def _never(step: Any) -> str | None:
    return None if step.prob == 0 else f"turns images with a probability of {step.prob}"


def _one_intensity(step: Any) -> str | None:
    same = step.intensity_min == step.intensity_max
    return None if same else f"draws an intensity of {step.intensity_min} to {step.intensity_max}"


def _random(step: Any) -> str | None:
    return "cuts, turns or colours images at random"


_CHANCE: dict[type, Callable[[Any], str | None]] = {
    ResizeShortestEdge: _one_length,
    T.Resize: lambda step: None,
    T.ResizeScale: _one_scale,
    T.RandomResize: _one_shape,
    T.RandomApply: _certain,
    T.RandomFlip: _never,
    T.RandomBrightness: _one_intensity,
    T.RandomContrast: _one_intensity,
    T.RandomSaturation: _one_intensity,
    **{
        getattr(T, name): _random
        for name in (
            "RandomCrop", "RandomCrop_CategoryAreaConstraint", "RandomExtent", "RandomLighting", "RandomRotation",
            "MinIoURandomCrop", "FixedSizeCrop",
        )
    },
}  # fmt: skip


def _pair(size: Any) -> tuple[int, int]:
    height, width = size
    return int(height), int(width)


def _name(step: Any) -> str:
    return type(step).__name__
