"""Detectron2's evaluators of LVIS, Pascal VOC, Cityscapes and panoptic data, chosen as by its ``train_net.py``."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy
from detectron2.evaluation import (
    CityscapesInstanceEvaluator,
    CityscapesSemSegEvaluator,
    COCOPanopticEvaluator,
    DatasetEvaluator,
    DatasetEvaluators,
    LVISEvaluator,
    PascalVOCDetectionEvaluator,
    SemSegEvaluator,
)
from detectron2.utils.file_io import PathManager
from PIL import Image

# Packages that the evaluators import, often after inference only, and what pip installs them from.
_SOURCES = {
    "lvis": "lvis",
    "cityscapesscripts": "cityscapesscripts",
    "panopticapi": "'git+https://github.com/cocodataset/panopticapi.git'",
}


def require_package(name: str, dataset_name: str) -> None:
    """Raises ImportError where a package that scores a data set is not installed."""
    if importlib.util.find_spec(name) is None:
        raise ImportError(
            f"`evaluator_type` of data set {dataset_name!r} needs the package {name} to be scored; got none installed: "
            f"python -m pip install {_SOURCES[name]}"
        )


class NumpyLVISEvaluator(LVISEvaluator):
    """``LVISEvaluator`` with any numpy: lvis 0.5.3, the last release, reads ``numpy.float``, gone since 1.24."""

    def evaluate(self) -> Any:
        """See :class:`LVISEvaluator`."""
        with _old_names(importlib.import_module("lvis.eval")):
            return super().evaluate()


class _OldNumpy:
    """numpy with the name that it dropped."""

    float = float

    def __getattr__(self, name: str) -> Any:
        return getattr(numpy, name)


@contextmanager
def _old_names(module: Any) -> Iterator[None]:
    own = module.np
    module.np = _OldNumpy()
    try:
        yield
    finally:
        module.np = own


def build_lvis(dataset_name: str, output_dir: str) -> DatasetEvaluator:
    """LVIS's AP, by the frequency of classes."""
    require_package("lvis", dataset_name)
    return NumpyLVISEvaluator(dataset_name, output_dir=output_dir)


def build_pascal_voc(dataset_name: str, output_dir: str) -> DatasetEvaluator:
    """Pascal VOC's AP."""
    del output_dir  # it writes to a temporary folder
    return PascalVOCDetectionEvaluator(dataset_name)


def build_cityscapes_instance(dataset_name: str, output_dir: str) -> DatasetEvaluator:
    """AP of Cityscapes' masks."""
    del output_dir
    require_package("cityscapesscripts", dataset_name)
    return CityscapesInstanceEvaluator(dataset_name)


def build_cityscapes_sem_seg(dataset_name: str, output_dir: str) -> DatasetEvaluator:
    """IoU of Cityscapes' classes."""
    del output_dir
    require_package("cityscapesscripts", dataset_name)
    return CityscapesSemSegEvaluator(dataset_name)


def build_cityscapes_panoptic(dataset_name: str, output_dir: str) -> DatasetEvaluators:
    """PQ, IoU and AP of Cityscapes."""
    parts = [build_cityscapes_sem_seg(dataset_name, output_dir), build_cityscapes_instance(dataset_name, output_dir)]
    return DatasetEvaluators([build_panoptic(dataset_name, output_dir), *parts])


def build_sem_seg(dataset_name: str, output_dir: str) -> DatasetEvaluator:
    """IoU of pixels' classes."""
    return SemSegEvaluator(dataset_name, output_dir=output_dir, sem_seg_loading_fn=_read_classes)


def _read_classes(path: str, dtype: type = int) -> numpy.ndarray:
    """(h, w) classes of pixels; Detectron2's own way asks numpy 2 for an array without a copy, which it can't give."""
    with PathManager.open(path, "rb") as file, Image.open(file) as image:
        return numpy.array(image, dtype=dtype)


def build_panoptic(dataset_name: str, output_dir: str) -> DatasetEvaluator:
    """PQ of panoptic segmentation, COCO's or in its format."""
    require_package("panopticapi", dataset_name)
    return COCOPanopticEvaluator(dataset_name, output_dir)
