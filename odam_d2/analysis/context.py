"""Where the heat of each detection lies: in its box, on its object, on the other objects, on none.

Shape letters: R detections, G objects of one image, (h, w) the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..evaluation.ground_truth import TrueObjects
from ..structures import HeatMaps
from .heat_shares import PixelPart, heat_shares
from .image_errors import ImageErrors
from .verdicts import Verdict


@dataclass
class HeatContext:
    """Shares of the heat of R detections, for one attribute; NaN throughout for a map of all zeros.

    A pixel belongs to a detection's own object if it lies in that object's mask, or box where there is no mask; else it
    belongs in equal parts to the other objects that it lies in; else to the background. So ``own``, ``background`` and
    the row of ``on_others`` add up to 1.

    Attributes:
        outside: (R,) float64, outside of the detected box.
        own: (R,) on the own object; 0 for a detection that has none.
        background: (R,) on no object.
        on_others: (R, G) on each other object, 0 for the own one.
        even: (R, G) what `on_others` would be if the heat were spread evenly over the image.
        on_boxes: (R, G) in the box of each object, the own one too; overlapping boxes count in full.
        on_masks: (R, G) in the mask of each object; NaN where it has none.
        own_objects: (R,) int64, -1 for a detection that has none.
        ids: G ids of the annotations.
    """

    outside: np.ndarray
    own: np.ndarray
    background: np.ndarray
    on_others: np.ndarray
    even: np.ndarray
    on_boxes: np.ndarray
    on_masks: np.ndarray
    own_objects: np.ndarray
    ids: list[Any]

    def __len__(self) -> int:
        return len(self.outside)

    def rows(self, least: float = 0.01) -> list[dict[str, Any]]:
        """R dicts as JSON can hold them, None in place of NaN.

        ``outside``, ``own``, ``background``; ``others``, those other objects that have at least the share `least`, the
        most first: ``annotation_id`` and ``share``, and the shares ``in_box`` and ``in_mask``.
        """
        rows = []
        for r in range(len(self)):
            order = np.argsort(-self.on_others[r], kind="stable")
            others = [int(g) for g in order if self.on_others[r, g] >= least]
            rows.append(
                {
                    **{name: _number(getattr(self, name)[r]) for name in ("outside", "own", "background")},
                    "others": [
                        {
                            "annotation_id": self.ids[g],
                            "share": _number(self.on_others[r, g]),
                            "in_box": _number(self.on_boxes[r, g]),
                            "in_mask": _number(self.on_masks[r, g]),
                        }
                        for g in others
                    ],
                }
            )
        return rows


def own_objects(errors: ImageErrors) -> np.ndarray:
    """(R,) int64, the object that each detection is of, right or wrong; -1 for background and what doesn't count."""
    without = np.isin(errors.kinds, (Verdict.BACKGROUND, Verdict.NOT_COUNTED)) | errors.ignored
    return np.where(without, -1, errors.objects)


class ObjectRegions:
    """The objects of one image as places for heat; what all maps of the image have in common is worked out once.

    Args:
        truth: the objects; crowds are background.
    """

    def __init__(self, truth: TrueObjects):
        self.truth = truth
        regions = torch.where(truth.has_mask[:, None, None], truth.masks, truth.inside_boxes)
        covering = regions.sum(0)
        shared = covering.clamp(min=1)
        self._regions = [PixelPart.of(region) for region in regions]
        self._parts = [region.divided_by(shared) for region in self._regions]
        self._anywhere = PixelPart.of(covering > 0)
        self._boxes = [PixelPart.of(box) for box in truth.inside_boxes]
        self._masks = [one if has else None for one, has in zip(self._regions, truth.has_mask.tolist())]
        self._shared: dict[int, dict[int, PixelPart]] = {}

    def context(
        self, heatmaps: HeatMaps, boxes: Tensor, own: Sequence[int] | np.ndarray, attribute: str, exact: bool = False
    ) -> HeatContext:
        """See :func:`heat_context`."""
        if not len(heatmaps) == len(boxes) == len(own):
            raise ValueError(
                f"`boxes` and `own` must be given for each of the {len(heatmaps)} maps; got {len(boxes)} and "
                f"{len(own)}: give those of the same detections"
            )
        own = np.asarray(own, dtype=np.int64)
        outside, own_share, background = np.full((3, len(own)), np.nan)
        on_others, even, on_boxes, on_masks = np.full((4, len(own), len(self._parts)), np.nan)
        for rows, shares in heat_shares(heatmaps, attribute, self.truth.size, exact):
            outside[rows] = 1.0 - shares.inside(boxes[torch.from_numpy(rows)])
            background[rows] = 1.0 - shares.of(self._anywhere)
            for g, (part, box, mask) in enumerate(zip(self._parts, self._boxes, self._masks)):
                on_others[rows, g], on_boxes[rows, g] = shares.of(part), shares.of(box)
                if mask is not None:
                    on_masks[rows, g] = shares.of(mask)
            own_share[rows] = np.where(np.isnan(outside[rows]), np.nan, 0.0)
            for o in set(own[rows].tolist()) - {-1}:
                mine = own[rows] == o
                own_share[rows[mine]] = shares.of(self._regions[o])[mine]
                for g, both in self._shared_with(o).items():
                    on_others[rows[mine], g] -= shares.of(both)[mine]
                on_others[rows[mine], o] *= 0.0  # NaN stays
        size = self.truth.size[0] * self.truth.size[1]
        for row, o in enumerate(own.tolist()):
            if not np.isnan(outside[row]):
                common = self._shared_with(o)
                even[row] = [(part.area - (common[g].area if g in common else 0.0)) / size
                             for g, part in enumerate(self._parts)]  # fmt: skip
        # Differences of sums may be a rounding below 0.
        shares_of_all = (outside, own_share, background, on_others, even, on_boxes, on_masks)
        for one in shares_of_all:
            np.clip(one, 0.0, 1.0, out=one)
        return HeatContext(*shares_of_all, own, self.truth.ids)

    def _shared_with(self, own: int) -> dict[int, PixelPart]:
        """Object -> what of its part lies in the region of an own one; nothing for -1."""
        if own not in self._shared:
            pairs = ((g, part.times(self._regions[own])) for g, part in enumerate(self._parts) if own >= 0)
            self._shared[own] = {g: part for g, part in pairs if part is not None}
        return self._shared[own]


def heat_context(
    heatmaps: HeatMaps,
    boxes: Tensor,
    truth: TrueObjects,
    own: Sequence[int] | np.ndarray,
    attribute: str = "score",
    exact: bool = False,
) -> HeatContext:
    """Where the heat of the detections of one image lies; for several attributes take one :class:`ObjectRegions`.

    Maps are taken as metrics take them: in the frame of the original image, min-max normalised.

    Args:
        heatmaps: R maps.
        boxes: (R, 4) XYXY of the detections, original pixels.
        truth: the objects of the image; crowds are background.
        own: (R,) integers, which object each detection is of, -1 for none; see :func:`own_objects`.
        attribute: which of the maps.
        exact: bring all maps to the image, which takes longer; see :mod:`odam_d2.analysis.heat_shares`.

    Raises:
        ValueError: if there are not as many boxes and own objects as maps, or a mask can't be drawn.
    """
    return ObjectRegions(truth).context(heatmaps, boxes, own, attribute, exact)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
