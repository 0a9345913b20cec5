"""Images as a detector takes them: one image, or those of a data set, also where some can't be read."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode

from .images import read_image_bgr
from .resizing import ResizeShortestEdge


class InputMaker:
    """Makes a detector's input from an image: resized, its channels in order, bit for bit as ``DefaultPredictor``.

    Args:
        min_size: what the shorter side is brought to, in pixels; 0 to leave images as they are.
        max_size: what the longer side must not exceed, in pixels.
        input_format: what the detector takes, ``BGR`` or ``RGB``.

    Raises:
        ValueError: if the format is another one.
    """

    def __init__(self, min_size: int = 800, max_size: int = 1333, input_format: str = "BGR"):
        if input_format not in ("BGR", "RGB"):
            raise ValueError(f"`input_format` must be BGR or RGB; got {input_format!r}: say which the detector takes")
        self.rgb = input_format == "RGB"
        self.resize = ResizeShortestEdge([min_size] * 2, max_size)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "InputMaker":
        """As the node ``INPUT`` says for testing."""
        return cls(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, cfg.INPUT.FORMAT)

    def __call__(self, image: np.ndarray) -> dict:
        """The input for an image.

        Args:
            image: (h, w, 3) uint8, BGR.

        Returns:
            ``image`` (3, h', w') float32; ``height`` and ``width``, of the original.
        """
        height, width = image.shape[:2]
        pixels = image[:, :, ::-1] if self.rgb else image
        pixels = self.resize.get_transform(pixels).apply_image(pixels)
        tensor = torch.as_tensor(pixels.astype("float32").transpose(2, 0, 1))
        return {"image": tensor, "height": height, "width": width}


class ImageInputs(torch.utils.data.Dataset):
    """Entries for a detector from records with ``file_name``, ``image_id``, ``height`` and ``width``.

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
        entry = {key: record[key] for key in ("image_id", "height", "width")}
        try:
            pixels = read_image_bgr(record["file_name"])
            if pixels.shape[:2] != (record["height"], record["width"]):
                raise ValueError(
                    f"the image must have its annotated size of {record['width']} x {record['height']}; got "
                    f"{pixels.shape[1]} x {pixels.shape[0]}: its objects would lie elsewhere"
                )
        except ValueError as error:
            return {**entry, "failure": str(error), "missing": not Path(record["file_name"]).is_file()}
        return {**entry, **self.make_input(pixels)}
