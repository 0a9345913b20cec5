"""Reading files of ``torch.save``, with stand-ins for what isn't weights.

Beside the weights, training scripts save what they have at hand: a ``Namespace`` of arguments, a config, an epoch as a
NumPy scalar. ``torch.load(weights_only=True)`` then refuses the whole file. Here numbers of NumPy are read, and every
other object becomes a stand-in that does nothing, so that the weights can be read. Nothing that a file names is
imported or run; a file that wants to call a function is refused.
"""

import os
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from .torch_formats import read_archive, read_legacy
from .unpickling import ArrayUnpickler, CarriesCode

# Whatever these have: it runs something, opens something, or finds what does.
_RUNS = frozenset(
    "os posix nt sys subprocess builtins __builtin__ io _io importlib runpy pty shutil socket ctypes pickle _pickle "
    "marshal code codeop webbrowser tempfile operator functools multiprocessing threading logging".split()
)
# Beginning with a small letter, as functions do, but kinds of data.
_DATA = frozenset(
    "datetime.datetime datetime.date datetime.time datetime.timedelta datetime.timezone "
    "builtins.slice builtins.range builtins.object "
    "functools.partial copyreg._reconstructor uuid.UUID types.SimpleNamespace".split()
)
# Containers that are read as plain ones.
_PLAIN: dict[str, Callable] = {
    "collections.defaultdict": lambda *_: {},
    "collections.deque": lambda *_: [],
    "collections.Counter": lambda counts: dict(counts),
}


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

    def _take(self, *_: Any) -> None:
        """Keeps nothing of what a pickle fills it with."""

    __setstate__ = __setitem__ = append = extend = add = _take


class _WeightsUnpickler(ArrayUnpickler):
    encoding = "utf-8"

    def unknown(self, dotted: str) -> Any:
        return _PLAIN.get(dotted) or _StandInKind("StandIn", (StandIn,), {"dotted": dotted})


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
    if zipfile.is_zipfile(path):
        content = read_archive(path, _WeightsUnpickler)
    else:
        with open(path, "rb") as file:
            content = read_legacy(file, _WeightsUnpickler)
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
