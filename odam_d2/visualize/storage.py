"""Detections with their heat maps as one ``.npz`` file an image, to the last bit."""

import os
import zipfile
from collections.abc import Sequence

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from ..structures import HeatMaps
from ..utils.files import atomic_write
from ..utils.words import one_line

FORMAT_VERSION = 2


def save_heatmaps(
    path: str | os.PathLike, instances: Instances, class_names: Sequence[str] = (), file_name: str = ""
) -> None:
    """Writes the detections of one image with their heat maps, whole or not at all.

    The file holds the arrays of :meth:`HeatMaps.to_arrays` and ``boxes`` (R, 4) XYXY in the original image's pixels,
    ``scores`` (R,), ``classes`` (R,), ``class_names`` (R names), ``file_name`` and ``format_version``; numpy alone
    reads it.

    Args:
        path: the ``.npz`` file to write.
        instances: ``pred_boxes``, ``scores``, ``pred_classes`` and ``heatmaps`` of R detections, on any device.
        class_names: the name of each class, by its number; default those that the heat maps carry. Classes beyond are
            called ``class 7``.
        file_name: the image's name, for later readers of the file.
    """
    class_names = known_names(instances, class_names)
    classes = instances.pred_classes.cpu().numpy()
    arrays = {
        **instances.heatmaps.to_arrays(),
        "names_by_class": np.array(class_names, dtype=np.str_),
        "boxes": instances.pred_boxes.tensor.cpu().numpy(),
        "scores": instances.scores.cpu().numpy(),
        "classes": classes,
        "class_names": np.array([class_name(c, class_names) for c in classes], dtype=np.str_),
        "file_name": np.array(file_name, dtype=np.str_),
        "format_version": np.array(FORMAT_VERSION),
    }
    with atomic_write(path, "wb") as handle:
        np.savez_compressed(handle, **arrays)


def load_heatmaps(path: str | os.PathLike) -> Instances:
    """Reads a file of :func:`save_heatmaps`.

    Returns:
        ``pred_boxes``, ``scores``, ``pred_classes`` and ``heatmaps``, which carry the class names, on the CPU, in the
        original image's frame.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file isn't one of ours, or of another format version.
    """
    arrays = _load(path)
    heatmaps = HeatMaps.from_arrays(arrays)
    return Instances(
        heatmaps.output_size,
        pred_boxes=Boxes(torch.from_numpy(arrays["boxes"])),
        scores=torch.from_numpy(arrays["scores"]),
        pred_classes=torch.from_numpy(arrays["classes"]),
        heatmaps=heatmaps,
    )


def _load(path: str | os.PathLike) -> dict[str, np.ndarray]:
    try:
        # Opened here: NumPy leaves a file open that it can't read.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as opened:
            arrays = dict(opened)
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"`path` must be a file that save_heatmaps wrote; got {str(path)!r}: {error}") from error
    version = arrays.get("format_version")
    if version is None or int(version) != FORMAT_VERSION:
        raise ValueError(
            f"`path` must be a file that save_heatmaps wrote, in format {FORMAT_VERSION}; got {str(path)!r} in "
            f"{'no format of ours' if version is None else f'format {int(version)}'}: run odam explain again"
        )
    return arrays


def known_names(instances: Instances, class_names: Sequence[str] = ()) -> tuple[str, ...]:
    """The names of classes by their number: those given, or else those that the instances' heat maps carry."""
    return tuple(class_names) or (instances.heatmaps.class_names if instances.has("heatmaps") else ())


def class_name(number: int, class_names: Sequence[str]) -> str:
    """The name of a class, or ``class 7`` where it has none, or one that shows nothing."""
    name = str(class_names[number]) if 0 <= number < len(class_names) else ""
    return name if one_line(name) else f"class {number}"
