"""Data sets and pictures. Importing this package registers the synthetic data sets in Detectron2's catalogs."""

from odam_d2.data import builtin  # noqa: F401  registers
