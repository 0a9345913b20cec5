"""From gradients to heat maps, a few detections on one level of features at a time.

Shape letters: D detections over the batch, n of them in a chunk, N images, K attributes, S sources of a detection,
C channels, (H, W) the grid of a level, h x w the largest window of a chunk, T cells of all windows of a chunk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..ops.ranges import ranges
from ..structures import DetectionTrace, HeatMaps
from ..utils.progress import tell_progress


@dataclass(frozen=True, kw_only=True)
class GradientWindows:
    """Gradients of n detections on one level, each in the window of cells where it is not zero.

    Attributes:
        detections: (n,) int64 rows of the trace.
        source: which of the detections' sources this is, 0 .. S - 1.
        boxes: (n, 4) XYXY boxes in model-input pixels, detected or given.
        features: (N, C, H, W) of the level.
        image_index: (n,) int64, the image of each detection.
        windows: (n, 4) int64, top, left, height, width in cells of the level.
        strides: (2,) float32, model-input pixels per cell along y, x.
        gradients: (n, K, C, h, w) float32 from each window's top left cell; zero beyond its end.
        adds_up: K times whether the attribute depends on other sources too, so that the ReLU has to wait for their sum.
    """

    detections: Tensor
    source: int
    boxes: Tensor
    features: Tensor
    image_index: Tensor
    windows: Tensor
    strides: Tensor
    gradients: Tensor
    adds_up: Sequence[bool]

    @property
    def grid(self) -> tuple[int, int]:
        """(H, W)."""
        return int(self.features.shape[-2]), int(self.features.shape[-1])

    def activations(self) -> Tensor:
        """(n, C, h, w): the features in each window; beyond its end, whatever lies nearest."""
        height, width = self.gradients.shape[-2:]
        cells = self.features.permute(0, 2, 3, 1).contiguous()
        return gather_windows(cells, self.image_index, self.windows, height, width).permute(0, 3, 1, 2)

    def positive_totals(self) -> Tensor:
        """(n, C): the positive part of each channel, summed over the level."""
        return self.features.clamp(min=0.0).sum((-2, -1))[self.image_index]


@dataclass(frozen=True, kw_only=True)
class MapWindows:
    """Maps of n detections on one level, before the ReLU: what an engine or a method makes of gradients.

    Attributes:
        detections: (n,) int64 rows of the trace.
        source: which of the detections' sources this is.
        windows: (n, 4) int64, top, left, height, width in cells.
        grid: (H, W) of the level.
        strides: (2,) float32, model-input pixels per cell along y, x.
        values: (K, T) float32, one window after the other.
        adds_up: see :class:`GradientWindows`.
    """

    detections: Tensor
    source: int
    windows: Tensor
    grid: tuple[int, int]
    strides: Tensor
    values: Tensor
    adds_up: Sequence[bool]

    @classmethod
    def of(cls, chunk: GradientWindows, maps: Tensor, whole_level: bool = False) -> MapWindows:
        """From (n, K, h, w) maps on the chunk's windows, or, with `whole_level`, (n, K, H, W) maps."""
        windows = chunk.windows
        if whole_level:
            windows = windows.new_tensor([[0, 0, *chunk.grid]]).expand(len(windows), 4)
        return cls(
            detections=chunk.detections,
            source=chunk.source,
            windows=windows,
            grid=chunk.grid,
            strides=chunk.strides,
            values=pack(maps, windows),
            adds_up=chunk.adds_up,
        )


def pack(maps: Tensor, windows: Tensor) -> Tensor:
    """(K, T): the cells of (n, K, h, w) padded windows without the padding, one window after the other."""
    y = torch.arange(maps.shape[-2], device=maps.device)[:, None]
    x = torch.arange(maps.shape[-1], device=maps.device)
    inside = (y < windows[:, 2, None, None]) & (x < windows[:, 3, None, None])
    return maps.transpose(0, 1)[:, inside]


def gather_windows(cells: Tensor, image_index: Tensor, windows: Tensor, height: int, width: int) -> Tensor:
    """(n, height, width, C) windows of (N, H, W, C) features; beyond a window's end, whatever lies nearest."""
    _, grid_h, grid_w, channels = cells.shape
    y = (windows[:, 0, None] + torch.arange(height, device=cells.device)).clamp(max=grid_h - 1)
    x = (windows[:, 1, None] + torch.arange(width, device=cells.device)).clamp(max=grid_w - 1)
    index = (image_index[:, None, None] * grid_h + y[:, :, None]) * grid_w + x[:, None, :]
    return cells.view(-1, channels)[index.flatten()].view(len(windows), height, width, channels)


def assemble(trace: DetectionTrace, parts: Iterable[MapWindows], attributes: Sequence[str]) -> list[HeatMaps]:
    """Puts the windows of all detections and sources in order, one HeatMaps an image.

    Where an attribute depends on one source alone, the ReLU is taken at its cells, as in the paper; otherwise it is
    left to :class:`HeatMaps`, which first adds the sources' windows in the frame of the image.

    Args:
        trace: where the D detections came from.
        parts: at most one window for each detection and source, at least one for each detection.
        attributes: K names.
    """
    parts = list(_as_they_come(parts))
    device = trace.references.device
    if not parts:
        parts = [_no_windows(trace, len(attributes))]
    sources = 1 + max(part.source for part in parts)
    slot = torch.cat([part.detections * sources + part.source for part in parts])
    order = slot.argsort()
    windows = torch.cat([part.windows for part in parts])
    # Values are moved from the order of the parts to the order of the detections.
    area = (windows[:, 2] * windows[:, 3])[order]
    first = torch.empty_like(area)
    first[order] = area.cumsum(0) - area
    values = trace.references.new_zeros(len(attributes), int(area.sum()))
    begin = 0
    for part in parts:
        count = len(part.detections)
        size = part.windows[:, 2] * part.windows[:, 3]
        cut = part.values.clone()
        alone = [k for k, waits in enumerate(part.adds_up) if not waits]
        cut[alone] = cut[alone].clamp(min=0.0)
        values[:, ranges(first[begin : begin + count], size, torch.arange(count, device=device))] = cut
        begin += count
    grids = torch.cat([windows.new_tensor([part.grid]).expand(len(part.windows), 2) for part in parts])
    strides = torch.cat([part.strides.expand(len(part.windows), 2) for part in parts])
    owners = slot[order] // sources
    return split_by_image(trace, values, windows[order], grids[order], strides[order], attributes, owners)


def _as_they_come(parts: Iterable[MapWindows]) -> Iterator[MapWindows]:
    """The parts; whoever listens to the work may end it after each of them."""
    for part in parts:
        tell_progress()
        yield part


def _no_windows(trace: DetectionTrace, attributes: int) -> MapWindows:
    none = torch.zeros(0, 4, dtype=torch.int64, device=trace.references.device)
    nothing = trace.references.new_zeros
    return MapWindows(
        detections=none[:, 0],
        source=0,
        windows=none,
        grid=(0, 0),
        strides=nothing(2),
        values=nothing(attributes, 0),
        adds_up=[False] * attributes,
    )


def split_by_image(
    trace: DetectionTrace,
    values: Tensor,
    windows: Tensor,
    grids: Tensor,
    strides: Tensor,
    attributes: Sequence[str],
    owners: Tensor | None = None,
) -> list[HeatMaps]:
    """Cuts the maps of a batch into one HeatMaps an image.

    Args:
        trace: where the D detections came from.
        values: (K, T), one window after the other, in the trace's order.
        windows: (W, 4) int64 top, left, height, width.
        grids: (W, 2) int64.
        strides: (W, 2) float32.
        attributes: K names.
        owners: (W,) int64, the detection of each window, not decreasing; None where each has one.
    """
    num_images = len(trace.image_sizes)
    owners = torch.arange(len(windows), device=windows.device) if owners is None else owners
    image = trace.image_index[owners]
    counts = torch.bincount(image, minlength=num_images).tolist()
    detections = torch.bincount(trace.image_index, minlength=num_images)
    local = owners - (detections.cumsum(0) - detections)[image]
    cells = torch.zeros(num_images, dtype=torch.int64, device=windows.device)
    cells.index_add_(0, image, windows[:, 2] * windows[:, 3])
    parts = zip(
        values.split(cells.tolist(), dim=1), windows.split(counts), grids.split(counts), strides.split(counts),
        trace.image_sizes, trace.output_sizes, local.split(counts), strict=True,
    )  # fmt: skip
    return [HeatMaps(v, w, g, s, attributes, i, o, own) for v, w, g, s, i, o, own in parts]
