"""The two things that travel: what a detector remembers of its detections, and their heat maps.

Shape letters: D detections over the whole batch, N pictures, R detections of one picture, K attributes, T cells of
all windows of a picture together, C channels, (H, W) the grid of a feature level, (h, w) a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from .ops.maps import area_weights, bilinear_weights, min_max_normalise, resample
from .ops.similarity import cosine_similarity

SIDES = ("left", "top", "right", "bottom")
COMBINED_PARTS = ("score", *SIDES)


class HeatMaps:
    """The heat maps of the R detections of one picture, each on its own window of its feature grid.

    Behaves like Detectron2's ``Boxes`` inside ``Instances``: ``len``, indexing, ``cat``, ``to``. Raw maps are kept (not
    negative, in the unit "attribute's unit per cell"); min-max normalisation happens on the way out.

    Attributes:
        values: (K, T) float32, the windows of all detections one behind the other, each row-major.
        windows: (R, 4) int64, top, left, height, width of each window, in cells of its grid. Zero outside.
        grids: (R, 2) int64, H, W of each grid, padding included.
        strides: (R, 2) float32, model-input pixels per cell along y, x. Cell (i, j) is centred at
            ((j + .5) stride_x, (i + .5) stride_y).
        attributes: the K names, in the order of `values`.
        image_size: (h, w) of the model input without padding.
        output_size: (h, w) of the original picture.
    """

    def __init__(
        self,
        values: Tensor,
        windows: Tensor,
        grids: Tensor,
        strides: Tensor,
        attributes: Sequence[str],
        image_size: tuple[int, int],
        output_size: tuple[int, int],
    ):
        cells = int((windows[:, 2] * windows[:, 3]).sum())
        if values.shape != (len(attributes), cells):
            raise ValueError(
                f"`values` must be (K, T) = ({len(attributes)}, {cells}) for {len(attributes)} attributes and these "
                f"windows; got {tuple(values.shape)}: flatten each window row by row, in the order of `windows`"
            )
        self.values = values
        self.windows = windows
        self.grids = grids
        self.strides = strides
        self.attributes = tuple(attributes)
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.output_size = (int(output_size[0]), int(output_size[1]))

    @classmethod
    def empty(
        cls,
        attributes: Sequence[str],
        image_size: tuple[int, int],
        output_size: tuple[int, int],
        device: torch.device | str = "cpu",
    ) -> HeatMaps:
        """The heat maps of no detection."""
        return cls(
            torch.zeros(len(attributes), 0, device=device),
            torch.zeros(0, 4, dtype=torch.int64, device=device),
            torch.zeros(0, 2, dtype=torch.int64, device=device),
            torch.ones(0, 2, device=device),
            attributes,
            image_size,
            output_size,
        )

    def __len__(self) -> int:
        return len(self.windows)

    def __repr__(self) -> str:
        return f"HeatMaps(num_instances={len(self)}, attributes={self.attributes}, output_size={self.output_size})"

    @property
    def device(self) -> torch.device:
        """Where the maps lie."""
        return self.values.device

    @property
    def names(self) -> tuple[str, ...]:
        """What can be asked for: the stored attributes, and ``combined`` where its five parts are stored."""
        combined = ("combined",) if set(COMBINED_PARTS) <= set(self.attributes) else ()
        return self.attributes + combined

    def to(self, device: torch.device | str) -> HeatMaps:
        """The same maps on another device."""
        return HeatMaps(
            self.values.to(device),
            self.windows.to(device),
            self.grids.to(device),
            self.strides.to(device),
            self.attributes,
            self.image_size,
            self.output_size,
        )

    def __getitem__(self, item: int | slice | Tensor | np.ndarray | Sequence[int]) -> HeatMaps:
        """Chooses detections.

        Args:
            item: an int (gives one map, still a HeatMaps), a slice, a bool mask or integers, as for ``Boxes``.
        """
        if isinstance(item, int | np.integer) or (isinstance(item, Tensor) and item.dim() == 0):
            item = int(item)
            if not -len(self) <= item < len(self):
                raise IndexError(f"`item` must be within the {len(self)} heat maps; got {item}: use a smaller index")
            item = [item]
        if isinstance(item, list):
            item = torch.tensor(item, dtype=None if item else torch.int64)
        rows = torch.arange(len(self), device=self.device)[item]
        area = self.windows[:, 2] * self.windows[:, 3]
        first = area.cumsum(0) - area
        taken = area[rows]
        within = torch.arange(int(taken.sum()), device=self.device)
        within = within - torch.repeat_interleave(taken.cumsum(0) - taken, taken)
        cells = torch.repeat_interleave(first[rows], taken) + within
        return HeatMaps(
            self.values[:, cells],
            self.windows[rows],
            self.grids[rows],
            self.strides[rows],
            self.attributes,
            self.image_size,
            self.output_size,
        )

    @staticmethod
    def cat(maps: Sequence[HeatMaps]) -> HeatMaps:
        """Joins heat maps of the same picture and the same attributes."""
        if len(maps) == 0:
            raise ValueError("`maps` must hold at least one HeatMaps; got none: use HeatMaps.empty")
        about = {(m.attributes, m.image_size, m.output_size) for m in maps}
        if len(about) > 1:
            raise ValueError(
                "`maps` must share attributes and picture sizes; got "
                + " and ".join(str(a) for a in sorted(about, key=str))
                + ": join only maps of one picture"
            )
        return HeatMaps(
            torch.cat([m.values for m in maps], 1),
            torch.cat([m.windows for m in maps]),
            torch.cat([m.grids for m in maps]),
            torch.cat([m.strides for m in maps]),
            *about.pop(),
        )

    def window(self, index: int, attribute: str) -> Tensor:
        """The raw map of one detection on its window, (height, width) float32."""
        one = self[index]
        return one.values[self._row(attribute)].view(*one.windows[0, 2:].tolist())

    def padded(self, attribute: str) -> Tensor:
        """The raw windows of one attribute, zero-padded to the largest: (R, L_y, L_x) float32."""
        height, width = (int(n) for n in self.windows[:, 2:].amax(0)) if len(self) else (0, 0)
        inside = (torch.arange(height, device=self.device)[:, None] < self.windows[:, 2, None, None]) & (
            torch.arange(width, device=self.device) < self.windows[:, 3, None, None]
        )
        maps = self.values.new_zeros(len(self), height, width)
        maps[inside] = self.values[self._row(attribute)]
        return maps

    def to_image(self, attribute: str = "score", normalize: bool = True, size: tuple[int, int] | None = None) -> Tensor:
        """The maps as pictures.

        Interpolates bilinearly between cell centres; padding of the model input never enters.

        Args:
            attribute: one of `names`; ``combined`` is the maximum of the normalised score and side maps.
            normalize: min-max to [0, 1] per map (an all-zero or constant map becomes zero); else raw values.
            size: (h, w) to sample the picture at; default the original size.

        Returns:
            (R, h, w) float32 in the frame of the original picture (stretched to `size`).
        """
        height, width = size or self.output_size
        if attribute == "combined":
            self._require(COMBINED_PARTS, "combined")
            if not normalize:
                raise ValueError("`normalize` must be True for 'combined'; got False: its parts have different units")
            combined = self.to_image(COMBINED_PARTS[0], size=size)
            for part in SIDES:
                combined = torch.maximum(combined, self.to_image(part, size=size))
            return combined
        rows, columns = (
            bilinear_weights(
                self.windows[:, axis],
                self.windows[:, axis + 2],
                self.grids[:, axis],
                self.strides[:, axis],
                output,
                float(self.image_size[axis]),
            )
            for axis, output in enumerate((height, width))
        )
        maps = resample(self.padded(attribute), rows, columns)
        return min_max_normalise(maps) if normalize else maps

    def similarity(self, attribute: str = "score", stride: float = 8.0) -> Tensor:
        """How alike the maps of every two detections are.

        Args:
            attribute: a stored attribute.
            stride: model-input pixels per cell of the common grid that maps are averaged to.

        Returns:
            (R, R) float32, cosine in [0, 1]; an all-zero map is like nothing.
        """
        if len(self) == 0:
            return self.values.new_zeros(0, 0)
        sizes = [-(-size // stride) for size in self.image_size]
        rows, columns = (
            area_weights(self.windows[:, a], self.windows[:, a + 2], self.strides[:, a], int(sizes[a]), stride)
            for a in (0, 1)
        )
        return cosine_similarity(resample(self.padded(attribute), rows, columns).flatten(1))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All of it as numpy arrays, for ``numpy.savez``; :meth:`from_arrays` is the way back."""
        return {
            "values": self.values.cpu().numpy(),
            "windows": self.windows.cpu().numpy(),
            "grids": self.grids.cpu().numpy(),
            "strides": self.strides.cpu().numpy(),
            "attributes": np.array(self.attributes, dtype=np.str_),
            "image_size": np.array(self.image_size),
            "output_size": np.array(self.output_size),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> HeatMaps:
        """Heat maps from what :meth:`to_arrays` gave (an opened ``.npz`` file will do)."""
        values, windows, grids, strides = (
            torch.from_numpy(np.asarray(arrays[name])) for name in ("values", "windows", "grids", "strides")
        )
        (in_h, in_w), (out_h, out_w) = (arrays[name].tolist() for name in ("image_size", "output_size"))
        names = [str(name) for name in arrays["attributes"]]
        return cls(values, windows, grids, strides, names, (in_h, in_w), (out_h, out_w))

    def _require(self, needed: Sequence[str], wanted: str) -> None:
        missing = [name for name in needed if name not in self.attributes]
        if missing:
            raise ValueError(
                f"`attribute` must be among {list(self.names)}; got {wanted!r}, whose maps {missing} were not "
                "computed: name them when the explainer is built"
            )

    def _row(self, attribute: str) -> int:
        self._require((attribute,), attribute)
        return self.attributes.index(attribute)


@dataclass
class Predictions:
    """What a detector says of D instances, as differentiable tensors.

    Attributes:
        scores: (D,) the confidence that is reported, in [0, 1].
        logits: (D,) the raw logit of each instance's class.
        boxes: (D, 4) decoded XYXY boxes in model-input pixels, *not* clipped to the picture (a clip kills gradients).
        extras: further scalars of the family by attribute name, (D,) each, e.g. ``centerness``.
    """

    scores: Tensor
    logits: Tensor
    boxes: Tensor
    extras: dict[str, Tensor] = field(default_factory=dict)


class TracedHead(Protocol):
    """The part of a detector behind its features, able to say again what it said of the traced instances."""

    def predict(self, features: Mapping[str, Tensor], trace: DetectionTrace) -> Predictions:
        """Predictions for all D instances of `trace` from (N, C, H, W) features, with a graph where they have one."""
        ...


@dataclass
class DetectionTrace:
    """What a forward pass leaves behind: features, and for each detection where it came from.

    The D rows run through the pictures of the batch in their order, and within a picture in the order of its results.

    Attributes:
        instances: N results in the original frame, as the stock detector returns them.
        features: level name -> (N, C, H, W), detached.
        strides: level name -> model-input pixels per cell.
        image_index: (D,) int64, the picture of each detection.
        level_index: (D,) int64, position in `level_names` of the level that each detection came from; -1 where only
            the gradient can tell.
        references: (D, 4) XYXY boxes in model-input pixels that the predictions started from: RoIs of a two-stage
            detector, anchors of a dense one.
        boxes: (D, 4) XYXY boxes in model-input pixels that were detected or given.
        rows: (D,) int64, which of the picture's proposals, or of its level's anchors, each detection is; -1 for boxes
            given to a two-stage detector.
        classes: (D,) int64.
        level_names: the levels that detections can come from.
        image_sizes: N times (h, w) of the model input without padding.
        padded_size: (h, w) of the batch with padding.
        output_sizes: N times (h, w) of the original picture.
        head: says again what was said of these detections.
        compute_features: runs the backbone again and returns its features, with a graph if gradients are on.
    """

    instances: list[Any]
    features: dict[str, Tensor]
    strides: dict[str, float]
    image_index: Tensor
    level_index: Tensor
    references: Tensor
    boxes: Tensor
    rows: Tensor
    classes: Tensor
    level_names: tuple[str, ...]
    image_sizes: list[tuple[int, int]]
    padded_size: tuple[int, int]
    output_sizes: list[tuple[int, int]]
    head: TracedHead
    compute_features: Callable[[], dict[str, Tensor]]

    def __len__(self) -> int:
        return len(self.image_index)
