"""Images, annotation files and data sets. Nothing is registered by importing it: see :func:`register_datasets`."""

from .builtin import register_datasets

__all__ = ["register_datasets"]
