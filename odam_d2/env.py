"""Versions and hardware in use, for bug reports and beside benchmark numbers: ``odam env``."""

import argparse
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from typing import Any

import detectron2
import numpy
import torch
import torchvision
from tabulate import tabulate

from odam_d2 import __version__
from odam_d2.utils.compiled import is_compiled


def collect_versions() -> dict[str, Any]:
    """Collects versions and hardware, ready for JSON.

    Returns:
        One entry per row of ``python -m odam_d2.env``: text, but for ``cpu_count`` and ``torch_threads`` (int) and
        ``cuda_devices`` (list of names, empty without CUDA).
    """
    return {
        "odam_d2": __version__,
        "detectron2": _detectron2_in_use(),
        "detectron2_path": os.path.dirname(detectron2.__file__),
        "detectron2_compiled": "yes" if is_compiled() else "no",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": numpy.__version__,
        "opencv": _opencv(),
        "pycocotools": importlib.metadata.version("pycocotools"),
        "fvcore": importlib.metadata.version("fvcore"),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "cuda": torch.version.cuda or "torch is built without",
        "cuda_devices": [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())],
    }


def _opencv() -> str:
    # Only what draws synthetic images and annotated samples needs it.
    try:
        import cv2
    except ImportError as error:
        return f"not usable: {error}"
    return cv2.__version__


def _detectron2_in_use() -> str:
    # Under the alias `detectron2` is the module LabGym.detectron2, name included.
    if detectron2.__name__ == "detectron2":
        return f"{detectron2.__version__} (official package)"
    return f"{detectron2.__version__} (LabGym {importlib.metadata.version('LabGym')}'s copy, through the alias)"


def format_versions() -> str:
    """Formats :func:`collect_versions` as a table, in the style of Detectron2's ``collect_env``."""
    rows = []
    for name, value in collect_versions().items():
        rows.append((name, (", ".join(value) or "none") if isinstance(value, list) else value))
    return tabulate(rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; ``odam env`` calls it."""
    argparse.ArgumentParser(prog="odam env", description="Prints versions and hardware.").parse_args(argv)
    print(format_versions())
    return 0


if __name__ == "__main__":
    print(format_versions())
