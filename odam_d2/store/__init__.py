"""The run folder on disk: written by one or more processes, an image at a time, and read by every page."""

from .reader import RunReader
from .records import AnnotationRow, DetectionRow, ImageRow, StoredImage
from .run_folder import RunFolder
from .writer import RunWriter

__all__ = ["AnnotationRow", "DetectionRow", "ImageRow", "RunFolder", "RunReader", "RunWriter", "StoredImage"]
