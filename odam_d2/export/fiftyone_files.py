"""The files that samples of FiftyOne belong to: copies of images, maps as PNG."""

import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from ..store import ImageRow
from .chosen import file_name


class SampleFiles:
    """Writes files into the folder of a dataset.

    Args:
        folder: of the dataset.
        copies: whether images are copied into it.

    Attributes:
        heat_fields: fields of which maps were written.
        lacking: how many images could not be copied.
        example: the first of them, and why.
    """

    def __init__(self, folder: Path, copies: bool):
        self._folder, self._copies = folder, copies
        self.heat_fields: set[str] = set()
        self.lacking = 0
        self.example = ""

    def image(self, image: ImageRow) -> str:
        """The path of an image for its sample: of the copy from the folder of the dataset, else the whole path."""
        there = os.path.abspath(image.path)
        if not self._copies:
            return there
        name = f"data/{file_name(image)}{Path(image.path).suffix}"
        try:
            source = open(there, "rb")
        except OSError as error:
            self.lacking += 1
            self.example = self.example or f"{there} ({error.strerror or error})"
            return there
        (self._folder / "data").mkdir(exist_ok=True)
        with source, open(self._folder / name, "wb") as copy:
            shutil.copyfileobj(source, copy)
        return name

    def heatmap(self, image: ImageRow, field: str, row: int | None, values: np.ndarray) -> str:
        """Writes a map, (h, w) uint8, and returns its path from the folder of the dataset.

        Args:
            image: what it is a map of.
            field: of the sample that it is for.
            row: of the one box that it is of; None for a map of all boxes.
            values: the map.
        """
        if field not in self.heat_fields:
            (self._folder / "fields" / field).mkdir(parents=True)
            self.heat_fields.add(field)
        name = f"fields/{field}/{file_name(image)}{'' if row is None else f'-{row:04d}'}.png"
        Image.fromarray(values).save(self._folder / name)
        return name
