"""The annotated objects of an image, as metrics need them.

Shape letters: G objects of one image, (h, w) the image.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.boxes import corners, why_no_object
from ..data.segmentations import decode_segmentation
from ..data.values import UnusableError
from .metrics.localization import inside_boxes


@dataclass
class TrueObjects:
    """The objects of one image that count, in the frame of the original image.

    Attributes:
        size: (h, w) of the image.
        boxes: (G, 4) float32 XYXY.
        classes: (G,) int64, the detector's numbers.
        ids: G ids of the annotations.
        segmentations: G times polygons or a run-length mask, as COCO has them; None for an object without.
        dropped: how many annotations were left out, by reason: ``crowd``, ``ignored``, ``empty`` (a box of no size).
    """

    size: tuple[int, int]
    boxes: Tensor
    classes: Tensor
    ids: list[Any]
    segmentations: list[Any]
    dropped: dict[str, int]

    @classmethod
    def of(cls, record: dict) -> "TrueObjects":
        """The objects of a record, see :mod:`odam_d2.data.coco`."""
        dropped = {"crowd": 0, "ignored": 0, "empty": 0}
        kept = []
        for number, item in enumerate(record.get("annotations", ())):
            reason = why_no_object(item)
            if reason is not None:
                dropped[reason] += 1
            else:
                name, segmentation = item.get("id", number), item.get("segmentation") or None
                kept.append((corners(item), item["category_id"], name, segmentation))
        return cls(
            (record["height"], record["width"]),
            torch.tensor([box for box, *_ in kept], dtype=torch.float32).view(-1, 4),
            torch.tensor([label for _, label, *_ in kept], dtype=torch.int64),
            [name for *_, name, _ in kept],
            [segmentation for *_, segmentation in kept],
            dropped,
        )

    @cached_property
    def inside_boxes(self) -> Tensor:
        """(G, h, w) bool: the pixels of each box."""
        return inside_boxes(self.boxes, *self.size)

    @cached_property
    def has_mask(self) -> Tensor:
        """(G,) bool: whether there is a mask, and a pixel in it; raises as :attr:`masks` does."""
        return self.masks.flatten(1).any(1)

    @cached_property
    def masks(self) -> Tensor:
        """(G, h, w) bool, empty for an object without a mask.

        Raises:
            ValueError: if a mask can't be drawn, or is of another size than the image; records that this package reads
                have none of these.
        """
        masks = np.zeros((len(self.boxes), *self.size), dtype=bool)
        for number, segmentation in enumerate(self.segmentations):
            if segmentation is not None:
                masks[number] = _decode(segmentation, self.size, self.ids[number])
        return torch.from_numpy(masks)


def _decode(segmentation: Any, size: tuple[int, int], name: Any) -> np.ndarray:
    """(h, w) bool from COCO's polygons, or its run lengths, as numbers or packed."""
    try:
        return decode_segmentation(segmentation, size)
    except UnusableError as error:
        raise ValueError(
            f"the mask of annotation {name} must be COCO's polygons or run lengths for an image of {size[1]} x "
            f"{size[0]}; but {error}: mend the annotations, or leave the mask out"
        ) from error
