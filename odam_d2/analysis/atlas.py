"""What a class' detections look at on average: mean maps in the coordinates of the boxes.

Shape letters: R detections of one image, N images, K attributes, (S, S) the cells of a mean map.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from ..ops.maps import min_max_normalise
from ..structures import COMBINED_PARTS, HeatMaps
from ..utils.files import atomic_write

# Boxes lie at [0, 1] on both axes.
SPAN = (-0.5, 1.5)
# Sums are kept in whole steps, so that they are the same in every order. Far more detections fit into 63 bits than
# there are anywhere.
_STEPS, _COARSE_STEPS = 2**30, 2**20


@dataclass
class MeanMaps:
    """The mean maps of one class.

    Attributes:
        attributes: K names.
        mean: (K, S, S) float64 in [0, 1], the box at :data:`SPAN`'s [0, 1]; NaN where no map reached.
        low: (K, S, S) lower bound of the interval over images; NaN where fewer than two images reached.
        high: (K, S, S) upper bound.
        covered: (K, S, S) int64, of how many detections the place lies in the image.
        detections: (K,) int64, how many had heat to be averaged.
        images: (K,) int64, in how many images.
    """

    attributes: tuple[str, ...]
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    covered: np.ndarray
    detections: np.ndarray
    images: np.ndarray


def save_mean_maps(path: str | os.PathLike, found: Mapping[int, MeanMaps], class_names: Sequence[str]) -> None:
    """Writes mean maps as npz, whole or not at all.

    Arrays of C classes: ``labels`` (C,) their numbers, ``classes`` (C,) and ``attributes`` (K,) names, ``span`` (2,) as
    :data:`SPAN`, and what :class:`MeanMaps` has, with the class in front: ``mean``, ``low``, ``high`` (C, K, S, S) in
    float32, ``covered``, ``detections``, ``images``.

    Args:
        path: the file.
        found: by class; at least one.
        class_names: the name of each class of `found`, in its order.
    """
    maps = list(found.values())
    arrays: dict[str, Any] = {
        "labels": np.array(list(found)),
        "classes": np.array(list(class_names)),
        "attributes": np.array(maps[0].attributes),
        "span": np.array(SPAN),
    }
    for name in ("mean", "low", "high", "covered", "detections", "images"):
        values = np.stack([getattr(one, name) for one in maps])
        arrays[name] = values.astype(np.float32) if values.dtype == np.float64 else values
    with atomic_write(path, "wb") as file:
        np.savez_compressed(file, **arrays)


class Atlas:
    """Gathers maps of images and averages them, by class and attribute; any order, any number of processes.

    Each map is resampled to the box's surroundings, min-max normalised over what of these lies in the image, and counts
    once. What lies outside of the image counts for no mean. The sums are exact: the same whatever the order.

    Args:
        attributes: K names, of ``HeatMaps.names``.
        size: S.

    Raises:
        ValueError: if there is no attribute, or `size` is none.
    """

    def __init__(self, attributes: Sequence[str], size: int = 64):
        if not attributes or size < 1:
            raise ValueError(
                f"`attributes` must name at least one, and `size` be at least 1; got {list(attributes)} and {size}: "
                "take those of the maps, and 64"
            )
        self.attributes, self.size = tuple(attributes), size
        self._sums: dict[int, _Sums] = {}

    @property
    def classes(self) -> list[int]:
        """The classes that have been seen, rising."""
        return sorted(self._sums)

    def add(self, classes: Sequence[int] | Tensor, boxes: Tensor, heatmaps: HeatMaps) -> None:
        """Adds the detections of one image, all at once: the intervals are over images.

        Args:
            classes: (R,) of the detections.
            boxes: (R, 4) XYXY in original pixels; one without a size is left out.
            heatmaps: R maps, with the attributes.
        """
        labels = classes.tolist() if isinstance(classes, Tensor) else [int(one) for one in classes]
        chosen: dict[int, list[int]] = {}
        sizes = boxes[:, 2:] > boxes[:, :2]
        for row, (label, sized) in enumerate(zip(labels, sizes.all(1).tolist())):
            if sized:
                chosen.setdefault(label, []).append(row)
        for label, rows in chosen.items():
            parts = [box_maps(heatmaps[row], boxes[row].tolist(), self.attributes, self.size) for row in rows]
            maps, inside = (np.stack(part) for part in zip(*parts))
            if label not in self._sums:
                self._sums[label] = _Sums(len(self.attributes), self.size)
            self._sums[label].add(maps, inside)

    def merge(self, other: Atlas) -> None:
        """Adds the images of another atlas, which must be others.

        Raises:
            ValueError: if it has other attributes or another size.
        """
        if (other.attributes, other.size) != (self.attributes, self.size):
            raise ValueError(
                f"`other` must have the attributes {list(self.attributes)} and the size {self.size}; got "
                f"{list(other.attributes)} and {other.size}: build both alike"
            )
        for label, sums in other._sums.items():
            if label not in self._sums:
                self._sums[label] = _Sums(len(self.attributes), self.size)
            self._sums[label].merge(sums)

    def summary(self, level: float = 0.95) -> dict[int, MeanMaps]:
        """Class -> its mean maps.

        The intervals are those of a ratio of sums over images, images being drawn and not detections, by the normal
        distribution: Cochran, "Sampling Techniques", 1977, chapter 6. They tell how far the mean would move with other
        images, not how far single maps lie from it.

        Args:
            level: of the intervals, in (0, 1).
        """
        return {label: self._sums[label].summary(self.attributes, level) for label in self.classes}


def box_maps(
    heatmaps: HeatMaps, box: Sequence[float], attributes: Sequence[str], size: int
) -> tuple[np.ndarray, np.ndarray]:
    """The maps of one detection in the coordinates of a box, :data:`SPAN` on both axes.

    Args:
        heatmaps: of one detection.
        box: XYXY in original pixels.
        attributes: K names.
        size: S.

    Returns:
        (K, S, S) float32 in [0, 1], 0 outside of the image; (S, S) bool, which cells' centres lie in the image.
    """
    x1, y1, x2, y2 = box
    (low, high), (width, height) = SPAN, (x2 - x1, y2 - y1)
    region = (x1 + low * width, y1 + low * height, x1 + high * width, y1 + high * height)
    within = []
    for start, end, most in zip(region[1::-1], region[:1:-1], heatmaps.output_size):  # y, then x
        centres = start + (np.arange(size) + 0.5) * ((end - start) / size)
        within.append((centres >= 0) & (centres < most))
    (rows,), (columns,) = (np.nonzero(one) for one in within)
    inside = within[0][:, None] & within[1]
    maps = np.zeros((len(attributes), size, size), dtype=np.float32)
    if not inside.any():
        return maps, inside
    parts = [part for name in attributes for part in (COMBINED_PARTS if name == "combined" else (name,))]
    raw = heatmaps.to_images(list(dict.fromkeys(parts)), normalize=False, size=(size, size), region=region)
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    found = {name: min_max_normalise(one[0][window][None])[0] for name, one in raw.items()}
    for k, name in enumerate(attributes):
        shown = reduce(torch.maximum, (found[p] for p in COMBINED_PARTS)) if name == "combined" else found[name]
        maps[k][window] = shown.cpu().numpy()
    return maps, inside


class _Sums:
    """Whole-numbered sums of one class over images, n being an image's detections at a place and s their sum."""

    def __init__(self, attributes: int, size: int):
        shape = (attributes, size, size)
        self.n, self.s, self.nn, self.ns, self.ss = (np.zeros(shape, dtype=np.int64) for _ in range(5))
        self.reached = np.zeros(shape, dtype=np.int64)
        self.detections, self.images = np.zeros((2, attributes), dtype=np.int64)

    def add(self, maps: np.ndarray, inside: np.ndarray) -> None:
        """Adds the (r, K, S, S) maps of an image, and (r, S, S) which places lie in it; maps of all zeros are none."""
        has = np.asarray(maps.any(axis=(2, 3)))
        steps = np.rint(maps.astype(np.float64) * _STEPS).astype(np.int64).sum(0)
        n = (has[:, :, None, None] & inside[:, None]).sum(0)
        share = steps / _STEPS
        self.n += n
        self.s += steps
        self.nn += n * n
        self.ns += np.rint(n * share * _COARSE_STEPS).astype(np.int64)
        self.ss += np.rint(share * share * _COARSE_STEPS).astype(np.int64)
        self.reached += n > 0
        self.detections += has.sum(0)
        self.images += has.any(0)

    def merge(self, other: _Sums) -> None:
        for name, value in vars(other).items():
            getattr(self, name)[...] += value

    def summary(self, attributes: tuple[str, ...], level: float) -> MeanMaps:
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = self.s / _STEPS / self.n
            # sum (s - mean n)^2 over images, which rounding may leave a little below 0.
            squares = self.ss / _COARSE_STEPS - 2 * mean * self.ns / _COARSE_STEPS + mean**2 * self.nn
            error = np.sqrt(np.maximum(squares, 0.0) * self.reached / (self.reached - 1)) / self.n
        reach = ndtri((1 + level) / 2) * np.where(self.reached > 1, error, np.nan)
        low, high = (mean - reach).clip(0.0, 1.0), (mean + reach).clip(0.0, 1.0)
        return MeanMaps(attributes, mean, low, high, self.n, self.detections, self.images)
