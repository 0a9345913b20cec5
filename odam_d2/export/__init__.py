"""A run in the form of other tools, one file each."""

from .base import EXPORTERS, Exporter, Written, options_of, register_exporter
from .coco_results import CocoResults
from .csv_rows import CsvRows
from .fiftyone_dataset import FiftyOneFolder
from .supervision_detections import SupervisionDetections, load_supervision, to_supervision

__all__ = [
    "EXPORTERS",
    "CocoResults",
    "CsvRows",
    "Exporter",
    "FiftyOneFolder",
    "SupervisionDetections",
    "Written",
    "load_supervision",
    "options_of",
    "register_exporter",
    "to_supervision",
]
