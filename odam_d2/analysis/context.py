"""Where the heat of each detection lies: in its box, on its object, on the other objects, on none.

Shape letters: R detections, G objects of one image, (h, w) the image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..evaluation.ground_truth import TrueObjects
from ..evaluation.metrics.localization import inside_boxes
from ..structures import HeatMaps
from .image_errors import ImageErrors
from .verdicts import Verdict

# Maps of an image are looked at some at a time: this many pixels, as doubles.
_PIXELS_AT_ONCE = 2**22


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
        self._regions = [_Part(region) for region in regions]
        self._parts = [_Part(region / covering.clamp(min=1)) for region in regions]
        self._anywhere = _Part(covering > 0)
        self._boxes = [_Part(box) for box in truth.inside_boxes]
        self._masks = [_Part(mask) if has else None for mask, has in zip(truth.masks, truth.has_mask.tolist())]
        self._even: dict[int, list[float]] = {}

    def context(
        self, heatmaps: HeatMaps, boxes: Tensor, own: Sequence[int] | np.ndarray, attribute: str
    ) -> HeatContext:
        """See :func:`heat_context`."""
        if not len(heatmaps) == len(boxes) == len(own):
            raise ValueError(
                f"`boxes` and `own` must be given for each of the {len(heatmaps)} maps; got {len(boxes)} and "
                f"{len(own)}: give those of the same detections"
            )
        own = np.asarray(own, dtype=np.int64)
        size = self.truth.size
        outside, own_share, background = np.full((3, len(own)), np.nan)
        on_others, even, on_boxes, on_masks = np.full((4, len(own), len(self._parts)), np.nan)
        for rows, heat in _heat_of(heatmaps, size, attribute):
            total = heat.sum((1, 2))
            seen = total > 0
            share = heat[seen] / total[seen][:, None, None]
            rows = rows[seen.numpy()]
            if not len(rows):
                continue
            pixels = inside_boxes(boxes[rows].cpu(), *size)
            inside = pixels.any(2)[:, None].double() @ share @ pixels.any(1)[:, :, None].double()
            outside[rows] = 1.0 - inside[:, 0, 0]
            background[rows] = 1.0 - self._anywhere.sum_of(share)
            for g, (box, mask) in enumerate(zip(self._boxes, self._masks)):
                on_boxes[rows, g] = box.sum_of(share)
                if mask is not None:
                    on_masks[rows, g] = mask.sum_of(share)
            for k, o in enumerate(own[rows].tolist()):
                own_share[rows[k]] = float(self._regions[o].sum_of(share[k : k + 1])) if o >= 0 else 0.0
                even[rows[k]] = self._even_without(o)
                if o >= 0:
                    self._regions[o].clear(share[k])
            for g, part in enumerate(self._parts):
                on_others[rows, g] = part.sum_of(share)
        return HeatContext(outside, own_share, background, on_others, even, on_boxes, on_masks, own, self.truth.ids)

    def _even_without(self, own: int) -> list[float]:
        """G shares of even heat on each object but an own one."""
        if own not in self._even:
            heat = torch.ones(1, *self.truth.size, dtype=torch.float64)
            if own >= 0:
                self._regions[own].clear(heat[0])
            self._even[own] = [float(part.sum_of(heat)) / heat[0].numel() for part in self._parts]
        return self._even[own]


def heat_context(
    heatmaps: HeatMaps,
    boxes: Tensor,
    truth: TrueObjects,
    own: Sequence[int] | np.ndarray,
    attribute: str = "score",
) -> HeatContext:
    """Where the heat of the detections of one image lies; for several attributes take one :class:`ObjectRegions`.

    Maps are taken as metrics take them: in the frame of the original image, min-max normalised.

    Args:
        heatmaps: R maps.
        boxes: (R, 4) XYXY of the detections, original pixels.
        truth: the objects of the image; crowds are background.
        own: (R,) integers, which object each detection is of, -1 for none; see :func:`own_objects`.
        attribute: which of the maps.

    Raises:
        ValueError: if there are not as many boxes and own objects as maps, or a mask can't be drawn.
    """
    return ObjectRegions(truth).context(heatmaps, boxes, own, attribute)


class _Part:
    """A weight in [0, 1] for each pixel of an image, kept where it isn't zero."""

    def __init__(self, weights: Tensor):
        rows, columns = (weights.ne(0).any(axis).nonzero()[:, 0] for axis in (1, 0))
        ends = [(int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0) for places in (rows, columns)]
        self.window = tuple(slice(*one) for one in ends)
        self.weights = weights[self.window].double()

    def sum_of(self, maps: Tensor) -> Tensor:
        """(R,) sums of (R, h, w) double maps with these weights."""
        return (maps[:, self.window[0], self.window[1]] * self.weights).sum((1, 2))

    def clear(self, image: Tensor) -> None:
        """Takes the weights out of an (h, w) double map, in place."""
        image[self.window] *= 1.0 - self.weights


def _heat_of(heatmaps: HeatMaps, size: tuple[int, int], attribute: str) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Some rows at a time, and their (r, h, w) normalised maps as doubles on the CPU."""
    at_once = max(1, _PIXELS_AT_ONCE // (size[0] * size[1]))
    for rows in torch.arange(len(heatmaps)).split(at_once):
        yield rows.numpy(), heatmaps[rows.to(heatmaps.device)].to_image(attribute, size=size).cpu().double()


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
