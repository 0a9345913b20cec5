"""Images, annotation files and data sets. Nothing is registered by importing it: see :func:`register_datasets`."""

from .builtin import register_datasets
from .registration import register_coco

__all__ = ["register_coco", "register_datasets"]
