"""The questions that a detector is asked, a file each."""

from .base import ASKS, Question

# Importing a question's file registers it.
from . import box, detections, methods, other_class, suppression  # noqa: F401, I001  isort: skip

__all__ = ["ASKS", "Question"]
