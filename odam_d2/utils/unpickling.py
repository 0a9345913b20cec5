"""Reading pickles of arrays, without running anything that a file asks for.

A pickle is a little program that may call any function. The unpickler here knows what arrays and tensors are made of,
and refuses the rest by name.
"""

import codecs
import io
import pickle
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any

import numpy as np
import torch

from .torch_formats import STORAGE_DTYPES, Storage, read_legacy, tensor_in

try:
    from numpy._core import multiarray  # type: ignore[import-not-found, unused-ignore]
except ImportError:  # NumPy 1
    from numpy.core import multiarray  # type: ignore[no-redef, unused-ignore]


class CarriesCode(pickle.UnpicklingError):
    """A file holds what is neither an array nor made of arrays.

    Args:
        name: dotted, of the class or function.

    Attributes:
        name: the same.
    """

    def __init__(self, name: str):
        super().__init__(name)
        self.name = name


class _Only:
    """A function that a pickle may call, but not change: it has no attributes to set."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable):
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(self, "_function"):
            raise pickle.UnpicklingError(f"no attribute can be set; got {name!r}")
        object.__setattr__(self, name, value)


def _bytes_of(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes into old protocols."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes must be written as latin1; got {encoding!r}")
    return codecs.encode(text, "latin1")


def _from_buffer(buffer: bytes | bytearray, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    """How protocol 5 writes arrays."""
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order="F" if order == "F" else "C")


def _refused(name: str) -> _Only:
    """What a pickle may name, but not call."""

    def refuse(*_: Any) -> None:
        raise CarriesCode(name)

    return _Only(refuse)


def _empty_array(_kind: Any, shape: tuple[int, ...], code: bytes) -> object:
    return multiarray._reconstruct(np.ndarray, shape, code)


def _storage(content: bytes) -> Any:
    """How pickles without a place for storages write them: as files of their own."""
    return read_legacy(io.BytesIO(content), ArrayUnpickler)


def _tensor(
    storage: Storage,
    offset: int,
    size: tuple,
    stride: tuple,
    _grad: Any = False,
    _hooks: Any = None,
    metadata: Any = None,
) -> torch.Tensor:
    return tensor_in(storage, offset, size, stride, storage.dtype, metadata)


def _tensor_of_dtype(
    storage: Storage, offset: int, size: tuple, stride: tuple, _grad: Any, _hooks: Any, dtype: torch.dtype,
    metadata: Any = None,
) -> torch.Tensor:  # fmt: skip
    return tensor_in(storage, offset, size, stride, dtype, metadata)


def _tensor_of_kind(rebuild: Callable, _kind: Any, arguments: tuple, _state: Any) -> Any:
    """How subclasses of tensors are written, and tensors with attributes: all of them are plain tensors here."""
    return rebuild(*arguments)


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    # Called, it takes bytes for objects' places in memory.
    ("numpy", "ndarray"): _refused("numpy.ndarray"),
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _Only(_bytes_of),
    ("builtins", "bytearray"): bytearray,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "complex"): complex,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("torch._utils", "_rebuild_tensor"): _Only(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Only(_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): _Only(_tensor_of_dtype),
    ("torch._utils", "_rebuild_parameter"): _Only(lambda data, *_: data),
    ("torch._utils", "_rebuild_parameter_with_state"): _Only(lambda data, *_: data),
    ("torch._tensor", "_rebuild_from_type_v2"): _Only(_tensor_of_kind),
    ("torch.storage", "_load_from_bytes"): _Only(_storage),
}
_KNOWN.update({("torch", name): one for name, one in vars(torch).items() if isinstance(one, torch.dtype)})
for _module in ("torch", "torch.cuda", "torch.storage"):
    _KNOWN.update({(_module, name): dtype for name, dtype in STORAGE_DTYPES.items()})
for _core in ("numpy.core", "numpy._core"):
    _KNOWN[f"{_core}.multiarray", "_reconstruct"] = _Only(_empty_array)
    _KNOWN[f"{_core}.multiarray", "scalar"] = _Only(multiarray.scalar)
    _KNOWN[f"{_core}.numeric", "_frombuffer"] = _Only(_from_buffer)


class ArrayUnpickler(pickle.Unpickler):
    """Reads numbers, texts, arrays, tensors, and lists, dicts and sets of these; a storage's class is its dtype.

    Args:
        file: open for reading; pickles of Python 2 too.
    """

    def __init__(self, file: IO[bytes]):
        super().__init__(file, encoding=self.encoding)

    encoding = "latin1"

    def find_class(self, module: str, name: str) -> Any:
        """What a name in a file means here: one of the known, or what :meth:`unknown` says."""
        # Protocols 0 to 2 have the names of Python 2.
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        if (module, name) not in _KNOWN:
            return self.unknown(f"{module}.{name}")
        return _KNOWN[module, name]

    def unknown(self, dotted: str) -> Any:
        """For a name that is not known.

        Raises:
            CarriesCode: here, always.
        """
        raise CarriesCode(dotted)


def load_arrays(file: IO[bytes]) -> Any:
    """What a pickle holds, if that is numbers, texts, arrays, tensors, and lists, dicts and sets of these.

    Args:
        file: open for reading; pickles of Python 2 too.

    Raises:
        CarriesCode: if it holds anything else; nothing of that was run.
        Exception: of about any kind, if it is damaged.
    """
    return ArrayUnpickler(file).load()
