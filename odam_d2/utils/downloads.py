"""Weights at addresses: fetched by Detectron2's path manager, or else told where a copy by hand belongs."""

import os
from urllib.parse import urlparse

from detectron2.checkpoint.catalog import ModelCatalog, ModelCatalogHandler
from detectron2.utils.file_io import Detectron2Handler, PathManager
from iopath.common.file_io import get_cache_dir

from .checkpoint import split_address


def fetch_weights(address: str, key: str) -> str:
    """Path of the file behind an address, which Detectron2 keeps in its cache; a path is given back as it is.

    Args:
        address: e.g. ``detectron2://ImageNetPretrained/MSRA/R-50.pkl``, ``https://...``, or a path.
        key: what names weights in the config, for errors: ``MODEL.WEIGHTS`` or ``train.init_checkpoint``.

    Raises:
        FileNotFoundError: if it is neither in the cache nor to be had; says where to put a copy.
    """
    if "://" not in address:
        return address
    try:
        return PathManager.get_local_path(split_address(address)[0])
    # Each handler fails in ways of its own.
    except Exception as error:
        place = cache_path(split_address(address)[0])
        put = f"put the file at {place}, or " if place else ""
        given = f"{key}=/path/to/file" if key.islower() else f"{key} /path/to/file"
        raise FileNotFoundError(
            f"`{key}` must be weights that can be had; {address!r} can't be downloaded ({error}): {put}give a copy of "
            f"it with {given} at the end"
        ) from error


def cache_path(address: str) -> str | None:
    """Where Detectron2's path manager keeps what it downloads from an address; None where it downloads nothing."""
    if address.startswith(ModelCatalogHandler.PREFIX):
        try:
            address = ModelCatalog.get(address.removeprefix(ModelCatalogHandler.PREFIX))
        except (KeyError, RuntimeError):  # no such entry
            return None
    if address.startswith(Detectron2Handler.PREFIX):
        address = Detectron2Handler.S3_DETECTRON2_PREFIX + address.removeprefix(Detectron2Handler.PREFIX)
    parsed = urlparse(address)
    if parsed.scheme not in ("http", "https", "ftp"):
        return None
    return os.path.join(get_cache_dir(), os.path.dirname(parsed.path.lstrip("/")), address.split("/")[-1])
