"""Images as a detector takes them: one image, or those of a data set, also where some can't be read."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T  # noqa: N812  Detectron2's own habit
from detectron2.data.detection_utils import convert_image_to_rgb, convert_PIL_to_numpy
from PIL import Image

from .augmentations import FixedAugmentations
from .images import read_image_bgr

# What Detectron2 can read images as: BGR and RGB, grey, and YUV with Y in [0, 1].
FORMATS = ("BGR", "RGB", "L", "YUV-BT.601")


def shown(pixels: Any, input_format: str) -> np.ndarray:
    """A model input as (h, w, 3) uint8 RGB, to be looked at.

    Args:
        pixels: (c, h, w) tensor in `input_format`.
        input_format: one of :data:`FORMATS`.
    """
    image = pixels.permute(1, 2, 0).cpu().numpy()
    if input_format == "YUV-BT.601":
        image = convert_image_to_rgb(image, input_format)
    elif input_format == "L":
        image = image.repeat(3, axis=2)
    elif input_format == "BGR":
        image = image[:, :, ::-1]
    return np.ascontiguousarray(image.clip(0, 255).astype(np.uint8))


class InputMaker:
    """Makes a detector's input from an image: resized, in its format, bit for bit as Detectron2 does.

    That is what ``DefaultPredictor`` makes of it for BGR and RGB, and a ``DatasetMapper`` for every format.

    Args:
        min_size: what the shorter side is brought to, in pixels; 0 to leave images as they are.
        max_size: what the longer side must not exceed, in pixels.
        input_format: what the detector takes, one of :data:`FORMATS`.
        augmentations: what is done to images in place of that resizing: Detectron2's augmentations, see
            :class:`FixedAugmentations`.

    Attributes:
        input_format: see there.
        padding: what the augmentations add to images after all; it isn't added here, see :class:`FixedAugmentations`.

    Raises:
        ValueError: if the format is another one, or the augmentations can't be used.
    """

    def __init__(
        self,
        min_size: int = 800,
        max_size: int = 1333,
        input_format: str = "BGR",
        augmentations: Sequence[Any] | None = None,
    ):
        if input_format not in FORMATS:
            raise ValueError(
                f"`input_format` must be one of {list(FORMATS)}; got {input_format!r}: say which the detector takes"
            )
        if augmentations is None:
            augmentations = [T.ResizeShortestEdge([min_size] * 2, max_size)]
        self.input_format = input_format
        self.augment = FixedAugmentations(augmentations)
        self.padding = self.augment.padding

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "InputMaker":
        """As the node ``INPUT`` of a yaml config says for testing."""
        return cls(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, cfg.INPUT.FORMAT)

    def __call__(self, image: np.ndarray) -> dict:
        """The input for an image.

        Args:
            image: (h, w, 3) uint8, BGR.

        Returns:
            ``image`` (c, h', w') float32, of three channels, or one if the format is grey; ``height`` and ``width``,
            of the original.

        Raises:
            ValueError: if the augmentations would move or cut the image.
        """
        height, width = image.shape[:2]
        pixels = self.augment(self._in_format(image))
        tensor = torch.as_tensor(pixels.astype("float32").transpose(2, 0, 1))
        return {"image": tensor, "height": height, "width": width}

    def _in_format(self, image: np.ndarray) -> np.ndarray:
        if self.input_format == "BGR":
            return image
        rgb = image[:, :, ::-1]
        return rgb if self.input_format == "RGB" else convert_PIL_to_numpy(Image.fromarray(rgb), self.input_format)


class ImageInputs(torch.utils.data.Dataset):
    """Entries for a detector from records with ``file_name``, ``image_id`` and, where known, ``height`` and ``width``.

    Args:
        records: Detectron2's standard dicts.
        make_input: makes the detector's input of an image.
    """

    def __init__(self, records: Sequence[dict], make_input: InputMaker):
        self.records, self.make_input = list(records), make_input

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[dict]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> dict:
        """The entry of a record: ``image`` (3, h', w') float32, ``image_id``, ``height``, ``width``.

        An image that can't be used has ``failure``, why, in place of ``image``, and ``missing``, whether the file
        isn't there.
        """
        record = self.records[index]
        entry = {key: record[key] for key in ("image_id", "height", "width") if key in record}
        try:
            pixels = read_image_bgr(record["file_name"])
            if "height" in record and pixels.shape[:2] != (record["height"], record["width"]):
                raise ValueError(
                    f"the image must have its annotated size of {record['width']} x {record['height']}; got "
                    f"{pixels.shape[1]} x {pixels.shape[0]}: its objects would lie elsewhere"
                )
        except ValueError as error:
            return {**entry, "failure": str(error), "missing": not Path(record["file_name"]).is_file()}
        return {**entry, **self.make_input(pixels)}
