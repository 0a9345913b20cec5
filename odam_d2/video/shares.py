"""How much of a detection's heat lies on its neighbours: in the boxes of the other detections of its frame.

By the rule of :mod:`odam_d2.analysis.context` what lies in the detection's own box is its own, also where another box
lies over it. Both are told, since a person behind another has a box that is mostly the other's.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..analysis.heat_shares import PixelPart, heat_shares
from ..evaluation.metrics.localization import inside_boxes
from ..structures import HeatMaps


@dataclass(frozen=True)
class NeighbourShares:
    """Shares of the heat of a detection, in [0, 1]; NaN for a map of all zeros.

    Attributes:
        on_neighbours: in the boxes of other detections.
        beyond: in these, outside its own box.
    """

    on_neighbours: float
    beyond: float


UNKNOWN = NeighbourShares(math.nan, math.nan)


def neighbour_shares(heatmaps: HeatMaps, boxes: Tensor, index: int, attribute: str) -> NeighbourShares:
    """The shares of one of R detections of a frame.

    Args:
        heatmaps: R maps.
        boxes: (R, 4) XYXY in the frame's pixels.
        index: which of them.
        attribute: which of its maps.
    """
    height, width = size = heatmaps.output_size
    others = torch.zeros(size, dtype=torch.bool)
    for number, box in enumerate(boxes.cpu()):
        if number != index:
            others |= inside_boxes(box[None], height, width)[0]
    own = inside_boxes(boxes[index].cpu()[None], height, width)[0]
    ((_, shares),) = heat_shares(heatmaps[index], attribute, size)
    on_neighbours, beyond = (float(shares.of(PixelPart.of(part))[0]) for part in (others, others & ~own))
    return NeighbourShares(on_neighbours, beyond)
