"""Addresses of bundled weights: ``odam://synthetic/faster_rcnn_compact_FPN.pth``.

The files below ``weights`` are packed (:mod:`odam_d2.utils.packed`). An address stands for the plain checkpoint that
one of them unpacks to, wherever Detectron2's path manager is asked, as ``detectron2://`` does: in ``MODEL.WEIGHTS``,
for ``DetectionCheckpointer``. The checkpoint lies in the path manager's cache folder (``$FVCORE_CACHE``, or
``~/.torch/iopath_cache``), or where that can't be written in a temporary one.
"""

import functools
import logging
import os
import tempfile
import zipfile
from pathlib import Path
from typing import IO, Any

import torch
from detectron2.utils.file_io import PathHandler, PathManager

from ..utils.checkpoint import split_address
from ..utils.files import atomic_write, file_checksum
from ..utils.packed import unpack

PREFIX = "odam://"
WEIGHTS = Path(__file__).resolve().parent / "weights"


class BundledWeights(PathHandler):
    """Answers addresses with plain checkpoints.

    Args:
        folder: where the packed files lie; nothing is written there.
    """

    def __init__(self, folder: str | os.PathLike):
        super().__init__()
        self.folder = Path(folder)

    def names(self) -> list[str]:
        """The files that there are, as they stand in addresses, sorted."""
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*.pth"))

    def packed_file(self, address: str) -> Path:
        """The packed file behind an address.

        Raises:
            FileNotFoundError: if there is none.
        """
        name = address.removeprefix(PREFIX)
        if name not in self.names():
            known = ", ".join(PREFIX + one for one in self.names())
            raise FileNotFoundError(f"the address must be one of bundled weights; got {address!r}: choose of {known}")
        return self.folder / name

    def _get_supported_prefixes(self) -> list[str]:
        return [PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        self._check_kwargs(kwargs)
        packed = self.packed_file(path)
        # Another version of the package has other weights under the same name.
        name = f"{packed.stem}-{file_checksum(packed)[:16]}.pth"
        cached = _cache_folder() / name
        if force or not _is_whole(cached):
            try:
                _expand(packed, cached)
            except OSError as error:
                cached = Path(_private_folder().name) / name
                if not cached.is_file():
                    logging.getLogger(__name__).warning(
                        "%s can't be written (%s): %s is unpacked into a temporary folder", _cache_folder(), error, path
                    )
                    _expand(packed, cached)
        return str(cached)

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO:
        if mode not in ("r", "rb"):
            raise ValueError(f"`mode` must be 'r' or 'rb', since bundled weights are only read; got {mode!r}")
        return open(self._get_local_path(path), mode, buffering, **kwargs)

    def _exists(self, path: str, **kwargs: Any) -> bool:
        self._check_kwargs(kwargs)
        return path.removeprefix(PREFIX) in self.names()

    _isfile = _exists


def _cache_folder() -> Path:
    # Not iopath's `get_cache_dir`: where that can't write it takes a folder that all users of a machine share, and a
    # checkpoint of somebody else's may run code when it is loaded.
    return Path(os.path.expanduser(os.getenv("FVCORE_CACHE", "~/.torch/iopath_cache"))) / "odam_d2"


@functools.cache
def _private_folder() -> tempfile.TemporaryDirectory:
    """One of this process, gone at its end."""
    return tempfile.TemporaryDirectory(prefix="odam_d2-")


def _expand(packed: Path, path: Path) -> None:
    """Writes the plain checkpoint whole or not at all: several processes may be at it."""
    state = unpack(torch.load(packed, map_location="cpu", weights_only=True))
    with atomic_write(path, "wb") as file:
        torch.save({"model": state}, file)


def _is_whole(path: Path) -> bool:
    """Whether the archive is there and its checksums are right."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    # Damage makes an archive fail in about any way.
    except Exception:
        return False


BUNDLED = BundledWeights(WEIGHTS)
PathManager.register_handler(BUNDLED, allow_override=True)


def weights_checksum(weights: str) -> str:
    """What tells weights from others, wherever they lie: the checksum of a file or bundled ones, else the address."""
    place, queries = split_address(weights)
    chosen = "".join(f"?{name}={value}" for name, value in sorted(queries.items()))
    if place.startswith(PREFIX):
        return file_checksum(BUNDLED.packed_file(place)) + chosen
    return (file_checksum(place) if os.path.isfile(place) else place) + chosen
