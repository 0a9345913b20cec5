"""What all maps of a one-stage detector's level share: how much of a map lies at which place of the window.

A prediction of a dense head sees a window around its own location through convolutions of 3 x 3, and a product of
convolutions falls off from the middle, whatever the weights are. The mean map of predictions drawn at random has this
shape and nothing of an object; a map divided by it says where there is more than that.

Shape letters: D detections over the batch, N images, K attributes, T cells of all windows together, (Y, X) the cells of
a table around a detection's own cell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..ops.around import mean_around, scale_around
from ..structures import DetectionTrace, HeatMaps
from ..utils.devices import device_of
from ..utils.untyped import UntypedModule
from .weights_state import WeightsState

# Predictions of each level that the mean is over: so many of each image.
IMAGES, PREDICTIONS = 4, 64
# The images' sides in cells of the coarsest level, so that a window of a few convolutions fits there, too.
CELLS = 6
# Sides of the blobs that images are made of, in pixels: as much contrast in each octave, as photographs have it.
OCTAVES = (1, 4, 16, 64)
# Of a prior's largest value. Where the mean map has much more than that, maps are divided by it. Where it has much
# less, what a map has there is mostly chance, and a quotient would blow it up; it is left as it is or made smaller.
DAMPING = 0.1
SEED = 0
# Instead of zero under a division; every map with heat has more.
TINY = 1e-30


@dataclass
class CenterPrior:
    """The shape of a detector's maps, by level, with the weights that it was measured with.

    Attributes:
        factors: for each level (K, Y, X) float32, what maps are multiplied by; 1 where the mean map is largest.
        weights: of the detector then.
    """

    factors: Sequence[Tensor]
    weights: WeightsState

    @classmethod
    def measure(cls, model: UntypedModule, explain: Callable[[DetectionTrace], list[HeatMaps]]) -> CenterPrior:
        """Explains predictions drawn at random, the same at each call, in images made of noise.

        Each map is taken over its own largest value, so that confident predictions count no more than others.

        Args:
            model: a detector with ``random_trace``, in eval mode.
            explain: from a trace to raw maps, one HeatMaps an image.
        """
        generator = torch.Generator().manual_seed(SEED)
        weights = WeightsState.of(model)
        side = CELLS * int(max(model.anchor_parts()[0].strides))
        images = [{"image": noise_image(side, generator).to(device_of(model))} for _ in range(IMAGES)]
        trace = model.random_trace(images, PREDICTIONS, generator)
        maps = explain(trace)
        values = torch.cat([one.values for one in maps], 1)
        windows = torch.cat([one.windows for one in maps])
        area = windows[:, 2] * windows[:, 3]
        parts = [part / part.amax(1, keepdim=True).clamp(min=TINY) for part in values.split(area.tolist(), 1)]
        values = torch.cat(parts, 1)
        centres, factors = own_cells(trace), []
        owner = torch.repeat_interleave(trace.level_index[:, 0], area)
        for level in range(len(trace.level_names)):
            members = trace.level_index[:, 0] == level
            mean = mean_around(values[:, owner == level], windows[members], centres[members])
            factors.append(damped_inverse(mean))
        return cls(factors, weights)

    def taken_out(self, trace: DetectionTrace, maps: Sequence[HeatMaps]) -> list[HeatMaps]:
        """N HeatMaps over the prior of each detection's level, laid around its own cell."""
        centres, levels = own_cells(trace), trace.level_index[:, 0]
        counts = [len(one) for one in maps]
        parts = zip(maps, centres.split(counts), levels.split(counts), strict=True)
        return [self._divided(one, place, level) for one, place, level in parts]

    def _divided(self, maps: HeatMaps, centres: Tensor, levels: Tensor) -> HeatMaps:
        values, area = maps.values.clone(), maps.windows[:, 2] * maps.windows[:, 3]
        owner = torch.repeat_interleave(levels, area)
        for level in levels.unique().tolist():
            cells, members = owner == level, levels == level
            values[:, cells] = scale_around(
                values[:, cells], maps.windows[members], centres[members], self.factors[level]
            )
        about = (maps.attributes, maps.image_size, maps.output_size, maps.owners, maps.class_names)
        return HeatMaps(values, maps.windows, maps.grids, maps.strides, *about)


def damped_inverse(mean: Tensor) -> Tensor:
    """(K, Y, X): one over a mean map p in units of its largest value, (1 + d^2) p / (p^2 + d^2), d the damping.

    That is 1 / p for p far above d, at most about 1 / 2d, and falls to zero with p below. Tikhonov's regularisation, as
    Wiener's filter has it. A mean map of zeros has nothing to divide by: its factors are 1.
    """
    largest = mean.flatten(1).amax(1)[:, None, None]
    share = mean / largest.clamp(min=TINY)
    return torch.where(largest > 0, share * (1 + DAMPING**2) / (share**2 + DAMPING**2), 1.0)


def own_cells(trace: DetectionTrace) -> Tensor:
    """(D, 2) int64: row and column of the cell that each detection was predicted at, on its level."""
    y, x, _ = trace.head.cells(trace)  # type: ignore[attr-defined]
    return torch.stack([y, x], 1)


def noise_image(side: int, generator: torch.Generator) -> Tensor:
    """(3, side, side) float32 from 0 to 255: blobs of several sizes at random."""
    image = torch.zeros(1, 3, side, side)
    for octave in OCTAVES:
        cells = -(-side // octave)
        coarse = torch.rand(1, 3, cells, cells, generator=generator)
        image += functional.interpolate(coarse, (side, side), mode="bilinear", align_corners=False)
    low, high = image.amin(), image.amax()
    return (image[0] - low) / (high - low) * 255.0


def why_no_center_prior(model: UntypedModule) -> str | None:
    """In a few words, why a detector's maps have no such shape; None if they have."""
    if callable(getattr(model, "random_trace", None)):
        return None
    return f"{type(model).__name__} predicts at no locations of a grid whose windows are all alike"
