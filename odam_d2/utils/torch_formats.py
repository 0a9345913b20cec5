"""The two formats of ``torch.save``: a pickle, and beside it the bytes of the storages that its tensors lie in.

Read here rather than by ``torch.load``, which runs TorchScript programs that look like archives of weights in some
versions, and in others can't be told what a name in a pickle is to mean.
"""

import io
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from typing import IO, Any, NamedTuple

import torch
from torch import UntypedStorage

# What begins a file of torch.save before version 1.6: its magic number as a pickle.
LEGACY = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
# Of a storage, as old versions name its class.
STORAGE_DTYPES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64, "ComplexDoubleStorage": torch.complex128, "UntypedStorage": torch.uint8,
}  # fmt: skip


class Storage(NamedTuple):
    """Numbers of one dtype, one after the other.

    Attributes:
        data: their bytes.
        dtype: of each of them.
    """

    data: UntypedStorage
    dtype: torch.dtype


UnpicklerOf = Callable[[IO[bytes]], pickle.Unpickler]


def read_archive(file: IO[bytes] | str | os.PathLike, unpickler_of: UnpicklerOf) -> Any:
    """What ``torch.save`` wrote since version 1.6: a zip archive.

    Args:
        file: the archive, or its path.
        unpickler_of: makes what reads the pickle of a file; storages' classes must be dtypes to it, as in
            :data:`STORAGE_DTYPES`.

    Raises:
        Exception: of about any kind, if it is damaged, and whatever the unpickler raises.
    """
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        folder = min((n for n in names if n.rpartition("/")[2] == "data.pkl"), key=len).removesuffix("data.pkl")
        order = archive.read(f"{folder}byteorder").decode() if f"{folder}byteorder" in names else "little"
        found: dict[str, UntypedStorage] = {}

        def storage(saved: tuple) -> Storage:
            _, dtype, key, _, count = saved
            if key not in found:
                found[key] = _empty_storage(count, dtype, archive.getinfo(f"{folder}data/{key}").file_size)
                with archive.open(f"{folder}data/{key}") as source:
                    _fill(found[key], source, dtype, order)
            return Storage(found[key], dtype)

        unpickler = unpickler_of(io.BytesIO(archive.read(f"{folder}data.pkl")))
        unpickler.persistent_load = storage  # type: ignore[method-assign]  # the way of pickle
        return unpickler.load()


def read_legacy(file: IO[bytes], unpickler_of: UnpicklerOf) -> Any:
    """What ``torch.save`` wrote before version 1.6: pickles one after the other, then the storages.

    Args:
        file: open for reading, at its beginning.
        unpickler_of: as in :func:`read_archive`.

    Raises:
        Exception: of about any kind, if it is damaged, and whatever the unpickler raises.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    found: dict[str, Storage] = {}

    def persistent(saved: tuple) -> Any:
        if saved[0] == "module":  # of a whole model: its class, and the source of it
            return saved[1]
        _, dtype, key, _, count, view = saved
        if key not in found:
            found[key] = Storage(_empty_storage(count, dtype, size), dtype)
        whole = found[key].data
        if view is None:
            return Storage(whole, dtype)
        _, first, length = (int(one) if k else one for k, one in enumerate(view))
        return Storage(whole[first * dtype.itemsize : (first + length) * dtype.itemsize], dtype)

    for _header in ("magic number", "version", "machine"):
        unpickler_of(file).load()
    unpickler = unpickler_of(file)
    unpickler.persistent_load = persistent  # type: ignore[method-assign]  # the way of pickle
    content = unpickler.load()
    for key in unpickler_of(file).load():
        data, dtype = found[key]
        count = int.from_bytes(file.read(8), "little")
        if count * dtype.itemsize != data.nbytes():
            raise pickle.UnpicklingError(f"storage {key} must have {data.nbytes()} bytes; got {count} numbers")
        _fill(data, file, dtype, "little")
    return content


def tensor_in(
    storage: Storage,
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    dtype: torch.dtype,
    metadata: dict | None,
) -> torch.Tensor:
    """The tensor that lies in a storage.

    Args:
        storage: of its numbers.
        offset: of its first number, in numbers.
        size: its shape.
        stride: in numbers, for each axis.
        dtype: of the tensor.
        metadata: whether its numbers are to be conjugated or negated when they are read; None for neither.

    Raises:
        pickle.UnpicklingError: if it would reach beyond its storage, or metadata tell something.
    """
    reach = offset + 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if 0 not in size else 0
    if min((offset, *size, *stride)) < 0 or reach * dtype.itemsize > storage.data.nbytes():
        raise pickle.UnpicklingError(f"a tensor {tuple(size)} must lie in its storage of {storage.data.nbytes()} bytes")
    if metadata:
        raise pickle.UnpicklingError(f"a tensor must hold its numbers as they are; got one with {list(metadata)}")
    return torch.empty(0, dtype=dtype).set_(storage.data, offset, tuple(size), tuple(stride))


def _empty_storage(count: int, dtype: torch.dtype, most: int) -> UntypedStorage:
    if not 0 <= count * dtype.itemsize <= most:
        raise pickle.UnpicklingError(f"a storage must have up to {most} bytes; got {count} numbers of {dtype}")
    return UntypedStorage(count * dtype.itemsize)


def _fill(storage: UntypedStorage, source: IO[bytes], dtype: torch.dtype, order: str) -> None:
    view = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()
    done = 0
    while done < len(view):
        now = source.readinto(view[done:])  # type: ignore[attr-defined]  # of every binary file
        if not now:
            raise pickle.UnpicklingError(f"a storage must have {len(view)} bytes; got {done}")
        done += now
    if order != sys.byteorder:
        storage.byteswap(dtype)
