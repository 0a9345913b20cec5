"""Reading checkpoint files of any kind, without running code that they carry; what can't be read is told in a sentence.

The kind is told by the first bytes of a file, not by its name.
"""

import logging
import os
import zipfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from .torch_files import StandIn, load_torch_file, without_stand_ins
from .torch_formats import LEGACY
from .unpickling import CarriesCode, load_arrays

SUFFIXES = (".pth", ".pt", ".pkl", ".pyth", ".ckpt", ".bin", ".safetensors")
# How other kinds of files begin, what they are called, and what helps.
_OTHERS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file that it stands for", "run `git lfs pull`"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"BZh", "a bzip2 archive", "unpack it first"),
    (b"\xfd7zXZ", "an xz archive", "unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it first"),
    (b"\x89HDF", "an HDF5 file, as Keras writes it", "save weights of the Detectron2 model with torch.save"),
    (b"\x93NUMPY", "a NumPy array", "save a state dict with torch.save"),
)
_SAVE_WEIGHTS = "save the weights alone, torch.save({'model': model.state_dict()}, PATH)"
_AGAIN = "copy or download it again"


class CheckpointError(ValueError):
    """A checkpoint that can't be read or doesn't fit; the message is one sentence."""


def cannot_read(path: str | os.PathLike, what: str, remedy: str) -> CheckpointError:
    """The error for a file that isn't a checkpoint, or none that is read.

    Args:
        path: what was given.
        what: follows "which is", for instance.
        remedy: what to do.
    """
    return CheckpointError(f"the weights must be a checkpoint; got {os.fspath(path)!r}, which {what}: {remedy}")


def read_weights_file(path: str | os.PathLike, shown: str | os.PathLike | None = None) -> Any:
    """What a checkpoint file holds.

    Reads what ``torch.save`` wrote in either format, pickles of arrays as Detectron2's and Caffe2's model zoos have
    them, and safetensors. Objects beside the weights that are neither numbers, texts, arrays nor tensors are left out;
    the log names them.

    Args:
        path: a local file.
        shown: what messages call it; default `path`.

    Returns:
        Usually a dict.

    Raises:
        CheckpointError: if it can't be read, or reading it would run code.
        FileNotFoundError: if there is no such file.
    """
    shown = path if shown is None else shown
    check_is_file(path, shown)
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise cannot_read(shown, f"can't be opened ({error.strerror})", "check its permissions") from error
    if not head:
        raise cannot_read(shown, "is an empty file", _AGAIN)
    for begin, what, remedy in _OTHERS:
        if head.startswith(begin):
            raise cannot_read(shown, f"is {what}", remedy)
    if head.lstrip(b"\xef\xbb\xbf \r\n\t")[:5].lower() in (b"<!doc", b"<html", b"<head", b"<?xml"):
        raise cannot_read(shown, "is a web page, perhaps one about an error", "download the file itself")
    try:
        return _read(Path(path), head, shown)
    except CarriesCode as error:
        raise cannot_read(
            shown, f"holds {error.name!r}, which weights don't need and which is not run", _SAVE_WEIGHTS
        ) from None
    except CheckpointError:
        raise
    except MemoryError:
        raise cannot_read(shown, "doesn't fit into memory, or is damaged", _AGAIN) from None
    # Damage makes an unpickler fail with about anything.
    except Exception as error:
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        size = os.path.getsize(path)
        raise cannot_read(shown, f"is cut short or damaged ({size} bytes; {reason})", _AGAIN) from error


def check_is_file(path: str | os.PathLike, shown: str | os.PathLike) -> None:
    """Raises CheckpointError for a folder, and FileNotFoundError where there is nothing."""
    if os.path.isdir(path):
        files = sorted(one.name for one in Path(path).iterdir() if one.suffix in SUFFIXES)
        remedy = f"name a file in it, e.g. {files[0]!r}" if files else "name a file"
        raise cannot_read(shown, "is a folder", remedy)
    if not os.path.isfile(path):
        where = "" if os.path.isabs(path) else f" in {os.getcwd()!r}"
        raise FileNotFoundError(
            f"the weights must be a checkpoint file; got {os.fspath(shown)!r}, which doesn't exist{where}: see "
            "MODEL.WEIGHTS"
        )


def _read(path: Path, head: bytes, shown: str | os.PathLike) -> Any:
    if path.suffix == ".safetensors" or (
        head[8:9] == b"{" and int.from_bytes(head[:8], "little") < os.path.getsize(path)
    ):
        try:
            return load_file(path)
        except SafetensorError as error:
            raise cannot_read(shown, f"is damaged, or no safetensors file ({error})", _AGAIN) from error
    if head.startswith(b"PK\x03\x04"):
        _check_archive(path, shown)
        return _read_torch(path, shown)
    if head.startswith(LEGACY):
        return _read_torch(path, shown)
    if b"ustar" in head[257:265]:
        raise cannot_read(
            shown, "is a tar archive", "unpack it, or save a very old checkpoint again with a newer torch"
        )
    # What pickles of protocols 2 to 5 begin with, and what those before do.
    if head[:1] == b"\x80" or head[:1] in b"(}]c":
        with path.open("rb") as file:
            return load_arrays(file)
    raise cannot_read(shown, f"begins with {head[:16]!r}", f"name a file that torch.save wrote, or one of {SUFFIXES}")


def _check_archive(path: Path, shown: str | os.PathLike) -> None:
    with zipfile.ZipFile(path) as archive:
        names = [name.rpartition("/")[2] for name in archive.namelist()]
    if "constants.pkl" in names:
        raise cannot_read(shown, "is a TorchScript program", _SAVE_WEIGHTS)
    if "data.pkl" not in names:
        raise cannot_read(shown, f"is a zip archive of {names[:3]}", "unpack it, and name the checkpoint in it")


def _read_torch(path: Path, shown: str | os.PathLike) -> Any:
    content, strangers = load_torch_file(path)
    if isinstance(content, StandIn):
        raise cannot_read(shown, f"is a whole object of the class {content.dotted!r}, not its weights", _SAVE_WEIGHTS)
    if strangers:
        logging.getLogger(__name__).warning(
            "%s: beside the weights there are %s, which are left out", os.fspath(shown), ", ".join(sorted(strangers))
        )
    return without_stand_ins(content)
