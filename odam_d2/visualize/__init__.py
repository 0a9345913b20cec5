"""Heat maps to look at: :func:`show` in a notebook, drawings, a report of many images, and files to keep.

Every function takes the image as the predictor takes it: (h, w, 3) uint8, **BGR** as ``cv2.imread`` gives it, or RGB
with ``rgb=True``; a path; or a Pillow image. Drawings are returned in the same order. Class names are by default those
that the heat maps carry; :class:`odam_d2.OdamPredictor` gives them theirs.
"""

from .drawing import draw_attribute_panel, draw_detection, draw_detections
from .report import write_report_folder, write_single_file
from .show import Explanation, show
from .storage import load_heatmaps, save_heatmaps

__all__ = [
    "Explanation",
    "draw_attribute_panel",
    "draw_detection",
    "draw_detections",
    "load_heatmaps",
    "save_heatmaps",
    "show",
    "write_report_folder",
    "write_single_file",
]
