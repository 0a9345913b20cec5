"""Reading files of ``torch.save``, with stand-ins for what isn't weights.

Beside the weights, training scripts save what they have at hand: a ``Namespace`` of arguments, a config, an epoch as a
NumPy scalar. ``torch.load(weights_only=True)`` then refuses the whole file. Here numbers of NumPy are read, and every
other object becomes a stand-in that does nothing, so that the weights can be read. Nothing that a file names is
imported or run; a file that wants to call a function is refused.
"""

import contextlib
import os
import pickle
import pickletools
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import IO, Any

import torch

from .unpickling import CarriesCode, known_to_torch

# What begins a file of torch.save before version 1.6: its magic number as a pickle.
LEGACY = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
# Whatever these have: it runs something, opens something, or finds what does.
_RUNS = frozenset(
    "os posix nt sys subprocess builtins __builtin__ io _io importlib runpy pty shutil socket ctypes pickle _pickle "
    "marshal code codeop webbrowser tempfile operator functools multiprocessing threading logging".split()
)
# Beginning with a small letter, as functions do, but kinds of data.
_DATA = frozenset(
    "datetime.datetime datetime.date datetime.time datetime.timedelta datetime.timezone "
    "builtins.set builtins.frozenset builtins.complex builtins.bytearray builtins.slice builtins.range builtins.object "
    "functools.partial copyreg._reconstructor uuid.UUID types.SimpleNamespace".split()
)
# What is filled after it was made; torch fills plain dicts and lists alone.
_FILLED: dict[str, Callable] = {"collections.defaultdict": lambda *_: {}, "collections.deque": lambda *_: []}
# Before, torch can't be told what a name is to mean: files with strangers are refused by it.
_TAKES_NAMES = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 6)


def _runs(name: str) -> bool:
    """Whether a call of what is named so does something, but make a piece of data."""
    return name not in _DATA and (name.partition(".")[0] in _RUNS or name.rpartition(".")[2][:1].islower())


class _StandInKind(type):
    """Classes of stand-ins: calling one makes a stand-in, if what it stands for is data."""

    dotted: str

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if _runs(cls.dotted):
            raise CarriesCode(cls.dotted)
        made: Any = object.__new__(cls)  # type: ignore[arg-type]  # a class, as all of this metaclass are
        return made


class StandIn(metaclass=_StandInKind):
    """In the place of an object that isn't read; it holds nothing and does nothing.

    Attributes:
        dotted: the name of the class that the file says.
    """

    dotted = "object"

    def __new__(cls, *args: Any, **kwargs: Any) -> "StandIn":
        return object.__new__(cls)

    def __setstate__(self, state: Any) -> None:
        """Takes nothing."""


def load_torch_file(path: str | os.PathLike) -> tuple[Any, set[str]]:
    """What ``torch.save`` wrote, with stand-ins in the place of objects that are neither numbers nor weights.

    Args:
        path: of a file of either format.

    Returns:
        The content, and the names of what stand-ins stand for.

    Raises:
        CarriesCode: if reading it would call a function; nothing of that was run.
        Exception: of about any kind, if it is damaged or of a kind that isn't read: a TorchScript program.
    """
    known = known_to_torch()
    strangers = sorted(set(_globals_of(path)) - {name for _, name in known} - set(_FILLED))
    # torch asks its own list of names first, so that a stand-in of one of these is never used.
    stand_ins = [(_StandInKind("StandIn", (StandIn,), {"dotted": name}), name) for name in strangers]
    allowed: list[Any] = [*known, *stand_ins, *((make, name) for name, make in _FILLED.items())]
    try:
        with torch.serialization.safe_globals(allowed) if _TAKES_NAMES else contextlib.nullcontext():
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        for cause in (error, error.__cause__, error.__context__):
            if isinstance(cause, CarriesCode):
                raise cause from None
        # What torch refuses by itself: names of `os` and `sys`, and ways to make objects that it doesn't know.
        modules = [name for name in strangers if name.startswith("torch.nn.modules.")]
        others = [name for name in strangers if not name.startswith("torch.") and name not in _DATA]
        for name in [*filter(_runs, others), *modules, *others]:
            raise CarriesCode(name) from None
        raise
    return content, {one.dotted for one in _stand_ins_in(content)}


def without_stand_ins(value: Any) -> Any:
    """The same without stand-ins, in new mappings and lists; a state dict keeps its versions.

    Args:
        value: what :func:`load_torch_file` gave.
    """
    if isinstance(value, dict):
        kept: dict = OrderedDict() if isinstance(value, OrderedDict) else {}
        kept.update((key, without_stand_ins(one)) for key, one in value.items() if not isinstance(one, StandIn))
        if isinstance(kept, OrderedDict):
            vars(kept).update(vars(value))
        return kept
    if type(value) in (list, tuple):
        return type(value)(without_stand_ins(one) for one in value if not isinstance(one, StandIn))
    return value


def _stand_ins_in(value: Any) -> Iterator[StandIn]:
    if isinstance(value, StandIn):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _stand_ins_in(one)
    elif isinstance(value, list | tuple | set):
        for one in value:
            yield from _stand_ins_in(one)


def _globals_of(path: str | os.PathLike) -> Iterator[str]:
    """Dotted names of the classes and functions that a file names; its pickle is looked at, not run."""
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            for _ in range(4):  # the magic number, the protocol, the system, the content
                yield from _globals_in(file)
        return
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.rpartition("/")[2] == "data.pkl":
                with archive.open(name) as file:
                    yield from _globals_in(file)


def _globals_in(file: IO[bytes]) -> Iterator[str]:
    # Of the opcodes that name something, torch's unpickler knows this one alone.
    for code, argument, _ in pickletools.genops(file):
        if code.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
            yield f"{module}.{name}"
