"""Reading pickles of arrays, without running anything that a file asks for.

A pickle is a little program that may call any function. The unpickler here knows what arrays and tensors are made of,
and refuses the rest by name.
"""

import codecs
import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any

import numpy as np
import torch

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


def _storage(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> torch.Tensor:
    return torch._utils._rebuild_tensor_v2(storage, offset, size, stride, False, OrderedDict())


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _Only(_bytes_of),
    ("builtins", "bytearray"): bytearray,
    ("torch._utils", "_rebuild_tensor_v2"): _Only(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Only(lambda data, *_: data),
    ("torch.storage", "_load_from_bytes"): _Only(_storage),
}
for _core in ("numpy.core", "numpy._core"):
    _KNOWN[f"{_core}.multiarray", "_reconstruct"] = _Only(multiarray._reconstruct)
    _KNOWN[f"{_core}.multiarray", "scalar"] = _Only(multiarray.scalar)
    _KNOWN[f"{_core}.numeric", "_frombuffer"] = _Only(_from_buffer)


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise CarriesCode(f"{module}.{name}")
        return _KNOWN[module, name]


def load_arrays(file: IO[bytes]) -> Any:
    """What a pickle holds, if that is numbers, texts, arrays, tensors, and lists and dicts of these.

    Args:
        file: open for reading; pickles of Python 2 too.

    Raises:
        CarriesCode: if it holds anything else; nothing of that was run.
        Exception: of about any kind, if it is damaged.
    """
    return _ArrayUnpickler(file, encoding="latin1").load()


def known_to_torch() -> list[tuple[Any, str]]:
    """NumPy's arrays and scalars, for ``torch.serialization.safe_globals``."""
    kinds = {type(np.dtype(code)) for code in "?bhilqBHILQefdgFDGSUOmM"}
    names: list[tuple[Any, str]] = [(kind, f"numpy.dtypes.{kind.__name__}") for kind in kinds]
    for (module, name), known in _KNOWN.items():
        if module.startswith("numpy"):
            names.append((known, f"{module}.{name}"))
    return names
