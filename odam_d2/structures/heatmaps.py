"""The heat maps of one image, each on the few cells where it is not zero.

Shape letters: R detections of one image, W windows, K attributes, T cells of all windows together, (H, W) the grid of
a feature level, (h, w) an image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from ..ops.maps import area_weights, bilinear_weights, min_max_normalise, resample
from ..ops.ranges import ranges
from ..ops.similarity import cosine_similarity

SIDES = ("left", "top", "right", "bottom")
CORNERS = ("x1", "y1", "x2", "y2")
COMBINED_PARTS = ("score", *SIDES)

# Windows whose sides agree to within this many cells are brought to a common grid together, as long as they and the
# result hold no more floats than this.
WINDOW_STEP = 8
CHUNK_FLOATS = 4_000_000


class HeatMaps:
    """The heat maps of the R detections of one image, each on its own window of its feature grid.

    Behaves like Detectron2's ``Boxes`` inside ``Instances``: ``len``, indexing, ``cat``, ``to``. Raw maps are kept (in
    the unit "attribute's unit per cell"); they are min-max normalised when they are read as images.

    A detection that depends on several feature levels (the stages of a cascade, box head and mask head) has a window on
    each. Its windows are resampled to the image and summed there, and only then are negative values set to zero. The
    values of a detection with a single window are never negative.

    Attributes:
        values: (K, T) float32, all windows concatenated, each row-major.
        windows: (W, 4) int64, top, left, height, width of each window, in cells of its grid. Zero outside.
        grids: (W, 2) int64, H, W of each grid, padding included.
        strides: (W, 2) float32, model-input pixels per cell along y, x. Cell (i, j) is centred at
            ((j + .5) stride_x, (i + .5) stride_y).
        attributes: the K names, in the order of `values`.
        image_size: (h, w) of the model input without padding.
        output_size: (h, w) of the original image.
        owners: (W,) int64, the detection that each window belongs to: 0 .. R - 1, none left out, not decreasing.
            By default each window is a detection of its own.
        class_names: the detector's class names, by class number; empty where they aren't known. They travel with the
            maps so that whatever draws the detections can label them.
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
        owners: Tensor | None = None,
        class_names: Sequence[str] = (),
    ):
        cells = int((windows[:, 2] * windows[:, 3]).sum())
        if values.shape != (len(attributes), cells):
            raise ValueError(
                f"`values` must be (K, T) = ({len(attributes)}, {cells}) for {len(attributes)} attributes and these "
                f"windows; got {tuple(values.shape)}: flatten each window row by row, in the order of `windows`"
            )
        if owners is None:
            owners = torch.arange(len(windows), device=windows.device)
        steps = owners.diff(prepend=owners.new_tensor([-1]))
        if len(owners) != len(windows) or not bool(((steps == 0) | (steps == 1)).all() & (steps[:1] == 1).all()):
            raise ValueError(
                f"`owners` must name the detection of each of the {len(windows)} windows, counting up from 0; got "
                f"{owners.tolist()}: sort the windows by detection"
            )
        self.values = values
        self.windows = windows
        self.grids = grids
        self.strides = strides
        self.attributes = tuple(attributes)
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.output_size = (int(output_size[0]), int(output_size[1]))
        self.owners = owners
        self.class_names = tuple(class_names)
        self._count = int(owners[-1]) + 1 if len(owners) else 0

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
        return self._count

    def __repr__(self) -> str:
        return f"HeatMaps(num_instances={len(self)}, attributes={self.attributes}, output_size={self.output_size})"

    @property
    def device(self) -> torch.device:
        """The device that holds the maps."""
        return self.values.device

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes that can be asked for: those stored, and ``combined`` where its five parts are stored."""
        combined = ("combined",) if set(COMBINED_PARTS) <= set(self.attributes) else ()
        return self.attributes + combined

    def to(self, device: torch.device | str) -> HeatMaps:
        """The same maps on another device."""
        parts = (self.values, self.windows, self.grids, self.strides, self.owners)
        return self._like(*(part.to(device) for part in parts))

    def _like(
        self, values: Tensor, windows: Tensor, grids: Tensor, strides: Tensor, owners: Tensor | None = None
    ) -> HeatMaps:
        """Other windows of the same image, attributes and classes."""
        sizes = (self.image_size, self.output_size)
        return HeatMaps(values, windows, grids, strides, self.attributes, *sizes, owners, self.class_names)

    def __getitem__(self, item: int | slice | Tensor | np.ndarray | Sequence[int]) -> HeatMaps:
        """Selects detections.

        Args:
            item: an int (the result is still a HeatMaps, of one detection), a slice, a bool mask or integers, as for
                ``Boxes``.
        """
        if isinstance(item, int | np.integer) or (isinstance(item, Tensor) and item.dim() == 0):
            item = int(item)
            if not -len(self) <= item < len(self):
                raise IndexError(f"`item` must be within the {len(self)} heat maps; got {item}: use a smaller index")
            item = [item]
        if isinstance(item, list):
            item = torch.tensor(item, dtype=None if item else torch.int64)
        rows = torch.arange(len(self), device=self.device)[item]
        held = torch.bincount(self.owners, minlength=len(self))
        chosen = ranges(held.cumsum(0) - held, held, rows)
        area = self.windows[:, 2] * self.windows[:, 3]
        cells = ranges(area.cumsum(0) - area, area, chosen)
        owners = torch.repeat_interleave(torch.arange(len(rows), device=self.device), held[rows])
        return self._like(self.values[:, cells], self.windows[chosen], self.grids[chosen], self.strides[chosen], owners)

    @staticmethod
    def cat(maps: Sequence[HeatMaps]) -> HeatMaps:
        """Concatenates heat maps of the same image and attributes; class names are those of the first."""
        if len(maps) == 0:
            raise ValueError("`maps` must hold at least one HeatMaps; got none: use HeatMaps.empty")
        about = {(m.attributes, m.image_size, m.output_size) for m in maps}
        if len(about) > 1:
            raise ValueError(
                "`maps` must share attributes and image sizes; got "
                + " and ".join(str(a) for a in sorted(about, key=str))
                + ": join only maps of one image"
            )
        before = np.cumsum([0, *(len(m) for m in maps)]).tolist()
        return maps[0]._like(
            torch.cat([m.values for m in maps], 1),
            torch.cat([m.windows for m in maps]),
            torch.cat([m.grids for m in maps]),
            torch.cat([m.strides for m in maps]),
            torch.cat([m.owners + number for m, number in zip(maps, before, strict=False)]),
        )

    def window(self, index: int, attribute: str) -> Tensor:
        """The raw map of one detection on its window, (height, width) float32.

        Raises:
            ValueError: if the detection has several windows; :meth:`on_one_grid` merges them.
        """
        one = self[index]
        if len(one.windows) != 1:
            raise ValueError(
                f"`index` must be a detection with one window; got {index} with {len(one.windows)}: take on_one_grid()"
            )
        return one.values[self._row(attribute)].view(*one.windows[0, 2:].tolist())

    def padded(self, attribute: str) -> Tensor:
        """The raw windows of one attribute, zero-padded to the largest: (W, L_y, L_x) float32."""
        return self._padded(attribute, torch.arange(len(self.windows), device=self.device))

    def _padded(self, attribute: str, chosen: Tensor) -> Tensor:
        """:meth:`padded` for some of the windows."""
        windows, area = self.windows[chosen], self.windows[:, 2] * self.windows[:, 3]
        height, width = (int(n) for n in windows[:, 2:].amax(0)) if len(chosen) else (0, 0)
        inside = (torch.arange(height, device=self.device)[:, None] < windows[:, 2, None, None]) & (
            torch.arange(width, device=self.device) < windows[:, 3, None, None]
        )
        maps = self.values.new_zeros(len(chosen), height, width)
        maps[inside] = self.values[self._row(attribute), ranges(area.cumsum(0) - area, area, chosen)]
        return maps

    def to_image(
        self,
        attribute: str = "score",
        normalize: bool = True,
        size: tuple[int, int] | None = None,
        region: tuple[float, float, float, float] | None = None,
    ) -> Tensor:
        """The maps as images.

        Interpolates bilinearly between cell centres; the padding of the model input is never used.

        Args:
            attribute: one of `names`; ``combined`` is the maximum of the normalised score and side maps.
            normalize: min-max to [0, 1] per map (an all-zero or constant map becomes zero); else raw values.
            size: (h, w) to sample the image, or its region, at; default the original size.
            region: (x1, y1, x2, y2) in the original image's pixels, the part to show; default the whole image. Maps
                are normalised over the part that is shown.

        Returns:
            (R, h, w) float32 in the frame of the original image (stretched to `size`).
        """
        return self.to_images([attribute], normalize, size, region)[attribute]

    def to_images(
        self,
        attributes: Sequence[str] | None = None,
        normalize: bool = True,
        size: tuple[int, int] | None = None,
        region: tuple[float, float, float, float] | None = None,
    ) -> dict[str, Tensor]:
        """:meth:`to_image` for several attributes (default: all of `names`), faster than one by one.

        Returns:
            Attribute -> (R, h, w) as :meth:`to_image` returns it, in the order asked for.
        """
        asked = self.names if attributes is None else attributes
        for name in asked:
            self._require(COMBINED_PARTS if name == "combined" else (name,), name)
        if "combined" in asked and not normalize:
            raise ValueError("`normalize` must be True for 'combined'; got False: its parts have different units")
        rows, columns = (
            bilinear_weights(
                self.windows[:, axis],
                self.windows[:, axis + 2],
                self.grids[:, axis],
                self.strides[:, axis],
                output,
                float(self.image_size[axis]),
                region and self._span(region, axis),
            )
            for axis, output in enumerate(size or self.output_size)
        )
        found: dict[str, Tensor] = {}
        parts = [COMBINED_PARTS if name == "combined" else (name,) for name in asked]
        for name in dict.fromkeys(chain.from_iterable(parts)):
            maps = self._added(resample(self.padded(name), rows, columns))
            found[name] = min_max_normalise(maps) if normalize else maps
        if "combined" in asked:
            found["combined"] = reduce(torch.maximum, (found[part] for part in COMBINED_PARTS))
        return {name: found[name] for name in asked}

    def _span(self, region: tuple[float, float, float, float], axis: int) -> tuple[float, float]:
        """Where a region of the original image begins and ends along y (axis 0) or x, in model-input pixels."""
        scale = self.image_size[axis] / self.output_size[axis]
        return region[1 - axis] * scale, region[3 - axis] * scale

    def similarity(self, attribute: str = "score", stride: float = 8.0) -> Tensor:
        """How similar the maps of every two detections are.

        Needs memory for R maps on the common grid and a bounded number of others; no map is brought to image size.

        Args:
            attribute: a stored attribute.
            stride: model-input pixels per cell of the common grid that maps are averaged to.

        Returns:
            (R, R) float32, cosine in [0, 1]; 0 for an all-zero map.
        """
        return cosine_similarity(self.on_common_grid(attribute, stride))

    def on_common_grid(self, attribute: str = "score", stride: float = 8.0) -> Tensor:
        """The raw maps averaged to the cells of one grid over the image, flattened: (R, T), with their autograd graph.

        Args:
            attribute: a stored attribute.
            stride: model-input pixels per cell of the common grid.
        """
        sizes = [int(-(-size // stride)) for size in self.image_size]
        common = self.values.new_zeros(len(self), sizes[0] * sizes[1])
        for chosen in self._windows_of_one_size(sizes[0] * sizes[1]):
            windows, strides = self.windows[chosen], self.strides[chosen]
            rows, columns = (
                area_weights(windows[:, a], windows[:, a + 2], strides[:, a], sizes[a], stride) for a in (0, 1)
            )
            maps = resample(self._padded(attribute, chosen), rows, columns)
            common.index_add_(0, self.owners[chosen], maps.flatten(1))
        return common.clamp_(min=0.0)

    def _windows_of_one_size(self, output: int) -> Iterator[Tensor]:
        """Indices of all windows in groups of about equal size; each window becomes `output` floats."""
        rounded = (self.windows[:, 2:] + WINDOW_STEP - 1) // WINDOW_STEP * WINDOW_STEP
        sizes, number = torch.unique(rounded, dim=0, return_inverse=True)
        for k, (height, width) in enumerate(sizes.tolist()):
            most = max(1, CHUNK_FLOATS // (output + height * width))
            yield from (number == k).nonzero()[:, 0].split(most)

    def on_one_grid(self) -> HeatMaps:
        """The same maps with one window per detection, on the finest of its grids, for code that draws cells.

        Coarser windows are interpolated at the finest grid's cells before they are summed and cut at zero. Images of
        these maps are thus close to those of :meth:`to_image`, not equal; a detection with one window is unchanged.
        """
        if len(self.windows) > len(self):
            return HeatMaps.cat([self[index]._merged() for index in range(len(self))])
        return self._like(self.values.clamp(min=0.0), self.windows, self.grids, self.strides)

    def _merged(self) -> HeatMaps:
        """One detection's windows on the finest of their grids."""
        if len(self.windows) == 1:
            return self.on_one_grid()
        finest = self.strides.prod(1).argmin()
        grid, stride = self.grids[finest], self.strides[finest]
        rows, columns = (
            bilinear_weights(
                self.windows[:, axis],
                self.windows[:, axis + 2],
                self.grids[:, axis],
                self.strides[:, axis],
                int(grid[axis]),
                float(grid[axis] * stride[axis]),
            )
            for axis in (0, 1)
        )
        maps = [self._added(resample(self.padded(name), rows, columns)).flatten() for name in self.attributes]
        window = torch.cat([torch.zeros_like(grid), grid])[None]
        return self._like(torch.stack(maps), window, grid[None], stride[None])

    def _added(self, maps: Tensor) -> Tensor:
        """(R, h, w) from (W, h, w): the windows of each detection summed, negative values set to zero."""
        if len(self.windows) == len(self):
            return maps.clamp(min=0.0)
        total = maps.new_zeros(len(self), *maps.shape[1:])
        return total.index_add_(0, self.owners, maps).clamp_(min=0.0)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as numpy arrays, for ``numpy.savez``; :meth:`from_arrays` reads them back."""
        return {
            "values": self.values.cpu().numpy(),
            "windows": self.windows.cpu().numpy(),
            "grids": self.grids.cpu().numpy(),
            "strides": self.strides.cpu().numpy(),
            "owners": self.owners.cpu().numpy(),
            "attributes": np.array(self.attributes, dtype=np.str_),
            "image_size": np.array(self.image_size),
            "output_size": np.array(self.output_size),
            "names_by_class": np.array(self.class_names, dtype=np.str_),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> HeatMaps:
        """Heat maps from the arrays of :meth:`to_arrays`, or from an opened ``.npz`` file of them."""
        values, windows, grids, strides, owners = (
            torch.from_numpy(np.asarray(arrays[name])) for name in ("values", "windows", "grids", "strides", "owners")
        )
        (in_h, in_w), (out_h, out_w) = (arrays[name].tolist() for name in ("image_size", "output_size"))
        names, classes = ([str(name) for name in arrays.get(key, ())] for key in ("attributes", "names_by_class"))
        return cls(values, windows, grids, strides, names, (in_h, in_w), (out_h, out_w), owners, classes)

    def _require(self, needed: Sequence[str], wanted: str) -> None:
        missing = [name for name in needed if name not in self.attributes]
        if missing:
            raise ValueError(
                f"`attribute` must be among {list(self.names)}; got {wanted!r}, whose maps {missing} were not "
                "computed: name them when the explainer is built"
            )

    def _row(self, attribute: str) -> int:
        if attribute == "combined" and attribute in self.names:
            raise ValueError(
                f"`attribute` must be one of {list(self.attributes)}; got 'combined', which is put together of images: "
                "take one of its parts"
            )
        self._require((attribute,), attribute)
        return self.attributes.index(attribute)
