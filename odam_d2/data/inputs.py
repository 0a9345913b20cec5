"""Images of a data set as a detector takes them, one at a time, also where some can't be read."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from detectron2.data import transforms as T  # noqa: N812  Detectron2's own habit

from .images import read_image_bgr


class ImageInputs(torch.utils.data.Dataset):
    """Entries for a detector from records with ``file_name``, ``image_id``, ``height`` and ``width``.

    Args:
        records: Detectron2's standard dicts.
        shortest: side that an image's shorter side is brought to, in pixels.
        longest: what its longer side must not exceed, in pixels.
        rgb: whether the detector takes RGB; else BGR.
    """

    def __init__(self, records: Sequence[dict], shortest: int, longest: int, rgb: bool = False):
        self.records, self.rgb = list(records), rgb
        self.resize = T.ResizeShortestEdge([shortest] * 2, longest)

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
        pixels = pixels[:, :, ::-1] if self.rgb else pixels
        pixels = self.resize.get_transform(pixels).apply_image(pixels)
        image = torch.as_tensor(np.ascontiguousarray(pixels.astype(np.float32).transpose(2, 0, 1)))
        return {**entry, "image": image}
