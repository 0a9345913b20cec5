"""``sv.Detections`` of Roboflow's supervision: a function for one image, and a file an image that becomes one again.

supervision writes detections as CSV and JSON but reads neither, and data sets that it reads (COCO, YOLO, Pascal VOC)
keep no scores and no maps. So a file holds the arguments of ``sv.Detections`` as numpy arrays: numpy reads them, and
:func:`load_supervision` makes an ``sv.Detections`` of them.

Shape letters: n boxes, (h, w) the original image.
"""

import importlib
import json
import math
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..store import RunReader
from ..store.filters import Filter
from ..utils.folders import atomic_folder
from .base import Exporter, Watch, Written, register_exporter
from .chosen import ChosenImage, file_name
from .figures import TEXT, columns_of, flat, in_column
from .heat import HeatSource, ImageHeat, field_of

_DATA = "data."  # before the names of arrays that go into `data`
_TEXTS = ("kind", "verdict", "mechanism", "sentence")
_NUMBERS = ("iou", "occlusion", "outside")


def to_supervision(
    reader: RunReader,
    number: int,
    chosen: Filter = Filter(kind=("detection",)),  # noqa: B008  it is frozen
    method: str | None = None,
    attributes: Sequence[str] | None = None,
) -> Any:
    """The explained boxes of an image as ``sv.Detections``.

    ``xyxy`` is in the original image's pixels, ``confidence`` NaN for a box without a score. In ``data`` are
    ``class_name``, ``row``, ``kind``, ``annotation`` (-1 for none), ``iou``, ``occlusion``, ``verdict``,
    ``mechanism``, ``outside``, ``sentence``, ``figures.NAME``, and ``heatmap_ATTRIBUTE``: (n, h, w) uint8, 255 times
    the map in [0, 1], zero for a box without a map. Unknown numbers are NaN, unknown texts empty.

    Args:
        reader: the run.
        number: of the image.
        chosen: which boxes.
        method: see :class:`~odam_d2.export.heat.HeatSource`, as `attributes`.
        attributes: which maps.

    Raises:
        ImportError: if supervision isn't installed.
        IndexError: if the run has no image of that number.
        ValueError: if the run lacks maps that were asked for.
    """
    stored = reader.image(number)
    image = stored.image
    boxes = [(row, box) for _, row, box in reader.detections(replace(chosen, image=[number]))]
    if image.size is None:
        raise ValueError(f"`number` must be of an image that could be read; got {number}: {image.failure}")
    one = ChosenImage(image, boxes)
    heat = HeatSource(reader.run, method, attributes).of(stored)
    return _as_detections(dict(_arrays(one, heat, columns_of([one]))))


def load_supervision(path: str | os.PathLike) -> Any:
    """The ``sv.Detections`` of a file that ``odam export --to supervision`` wrote; see :func:`to_supervision`.

    Raises:
        ImportError: if supervision isn't installed.
        ValueError: if the file isn't one of ours.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as opened:
            arrays = dict(opened)
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"`path` must be a file of odam export; got {str(path)!r}, which can't be read: {error}: "
                         "export the run again") from error  # fmt: skip
    if "xyxy" not in arrays:
        raise ValueError(f"`path` must be a file of odam export; got {str(path)!r} without `xyxy`: name another")
    return _as_detections(arrays)


def _as_detections(arrays: Mapping[str, np.ndarray]) -> Any:
    try:
        kind = importlib.import_module("supervision").Detections
    except ImportError as error:
        raise ImportError(
            "`supervision` must be installed to make sv.Detections; got no such package: pip install supervision"
        ) from error
    data = {name.removeprefix(_DATA): array for name, array in arrays.items() if name.startswith(_DATA)}
    return kind(xyxy=arrays["xyxy"], confidence=arrays["confidence"], class_id=arrays["class_id"], data=data)


def _arrays(one: ChosenImage, heat: ImageHeat | None, columns: Mapping[str, str]) -> Iterator[tuple[str, np.ndarray]]:
    """Name and array of each argument, one at a time, since maps are large."""
    boxes, rows = [box for _, box in one.boxes], [row for row, _ in one.boxes]
    yield "xyxy", np.array([box.box for box in boxes], np.float32).reshape(-1, 4)
    yield "confidence", _numbers([box.score for box in boxes]).astype(np.float32)
    yield "class_id", np.array([box.class_id for box in boxes], np.int64)
    yield f"{_DATA}class_name", _texts([box.label for box in boxes])
    yield f"{_DATA}row", np.array(rows, np.int64)
    yield f"{_DATA}annotation", np.array([-1 if b.annotation is None else b.annotation for b in boxes], np.int64)
    for name in _TEXTS:
        yield f"{_DATA}{name}", _texts([getattr(box, name) for box in boxes])
    for name in _NUMBERS:
        yield f"{_DATA}{name}", _numbers([getattr(box, name) for box in boxes])
    figures = [flat(box.figures) for box in boxes]
    for name, kind in columns.items():
        found = [in_column(known[name], kind) if name in known else None for known in figures]
        yield f"{_DATA}{name}", _texts(found) if kind == TEXT else _numbers(found)
    height, width = one.image.size or (0, 0)
    for attribute in heat.attributes if heat else ():
        maps = np.zeros((len(boxes), height, width), np.uint8)
        for row, found_map in heat.of_boxes(attribute, rows) if heat else ():
            maps[rows.index(row)] = found_map
        yield f"{_DATA}{field_of(attribute)}", maps


def _texts(values: Sequence[Any]) -> np.ndarray:
    return np.array(["" if value is None else value for value in values], np.str_)


def _numbers(values: Sequence[Any]) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values], np.float64)


@register_exporter("supervision")
class SupervisionDetections(Exporter):
    """A folder with a file ``detections/NUMBER-NAME.npz`` for each image, for :func:`load_supervision`, and
    ``index.json``: of each image its number, key, name, path, (h, w), file and how many boxes it has.

    Args:
        reader: see :class:`Exporter`, as `chosen`.
        chosen: which explained boxes.
        method: see :class:`~odam_d2.export.heat.HeatSource`, as `attributes`.
        attributes: which maps.
    """

    usual = ("detection",)
    marker = "index.json"

    def __init__(
        self,
        reader: RunReader,
        chosen: Filter = Filter(),  # noqa: B008  it is frozen
        *,
        method: str | None = None,
        attributes: Sequence[str] | None = None,
    ):
        super().__init__(reader, chosen)
        self._heat = HeatSource(reader.run, method, attributes)

    def export(self, path: Path, watch: Watch) -> Written:
        written, columns = Written(), self.figures()
        with atomic_folder(path) as folder, open(folder / self.marker, "w", encoding="utf-8") as index:
            (folder / "detections").mkdir()
            index.write("[")
            for one in self.images(watch):
                heat = self._heat.of(self.reader.image(one.image.number))
                name = f"detections/{file_name(one.image)}.npz"
                with open(folder / name, "wb") as file:
                    _save(file, _arrays(one, heat, columns))
                index.write((",\n" if written.images else "\n") + json.dumps(_entry(one, name)))
                written.images += 1
                written.boxes += len(one.boxes)
                written.without_maps += sum(heat is None or row not in heat for row, _ in one.boxes)
            index.write("\n]\n")
        return written


def _entry(one: ChosenImage, name: str) -> dict[str, Any]:
    image = one.image
    about = {"number": image.number, "key": image.key, "name": image.name, "path": image.path, "size": image.size}
    return {**about, "file": name, "boxes": len(one.boxes)}


def _save(file: IO[bytes], arrays: Iterator[tuple[str, np.ndarray]]) -> None:
    """As ``numpy.savez_compressed``, which wants all arrays at once."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
