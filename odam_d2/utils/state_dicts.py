"""Which weights of a checkpoint are a model's, and under which names.

Checkpoints keep weights in entries of many names, often a second set that was averaged over training (EMA), and under
names that begin with whatever the model was wrapped in: ``module.`` (DistributedDataParallel), ``_orig_mod.``
(torch.compile), ``model.`` (Lightning). What fits the model is what counts, not how it is called.
"""

import re
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Wrappers that may stand anywhere in a name.
_WRAPPERS = frozenset(("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"))
_AVERAGED = re.compile(r"(^|[._])(ema|emas|swa|averaged?)([._]|$)|^ema|ema$", re.IGNORECASE)
_DEEPEST = 5
# A set of weights that fits less than this share of the best is another model's.
_WORTH = 0.5


@dataclass
class StateDict:
    """One set of weights in a checkpoint.

    Attributes:
        where: keys of the entry that holds it, and the beginning of names that was cut off, by dots.
        weights: by the model's names, or by the file's where the model has none like it.
        fitting: how many of the names the model has.
        strangers: names in the entry that begin in another way.
    """

    where: str
    weights: "OrderedDict[str, Tensor]"
    fitting: int
    strangers: list[str] = field(default_factory=list)

    @property
    def averaged(self) -> bool:
        """Whether these were averaged over training (EMA), as their place in the file says."""
        return bool(_AVERAGED.search(self.where))


def state_dicts(content: Any, wanted: Mapping[str, Any]) -> list[StateDict]:
    """All sets of weights in a checkpoint that a model may have, those that fit most first.

    Args:
        content: of the file.
        wanted: the model's state dict; its names alone count.

    Returns:
        Those with averaged weights come behind others that fit about as well.
    """
    names = {".".join(_unwrapped(name)): name for name in wanted}
    found = [one for where, entry in _entries(content) for one in _fitting(where, entry, names)]
    worth = {id(one) for one in worth_naming(found)}
    return sorted(found, key=lambda one: (id(one) not in worth, one.averaged, -one.fitting))


def worth_naming(found: list[StateDict]) -> list[StateDict]:
    """Those that fit at least half as well as the best."""
    most = max((one.fitting for one in found), default=0)
    return [one for one in found if one.fitting >= most * _WORTH]


def choose(found: list[StateDict], key: str) -> StateDict | None:
    """The set of weights that a name means: its whole place, its beginning, or one key of it; None if there is none."""
    for matches in (
        lambda where: where == key,
        lambda where: where.startswith(f"{key}."),
        lambda where: key in where.split("."),
    ):
        for one in found:
            if matches(one.where):
                return one
    return None


def _entries(content: Any, where: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Mappings that hold tensors, with their keys; those of an entry that holds none itself may."""
    if not isinstance(content, Mapping) or len(where) > _DEEPEST:
        return
    if any(isinstance(key, str) and _is_number(value) for key, value in content.items()):
        yield where, content
    for key, value in content.items():
        yield from _entries(value, (*where, str(key)))


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufc")


def _unwrapped(name: str) -> list[str]:
    return [part for part in name.split(".") if part not in _WRAPPERS]


def _fitting(where: tuple[str, ...], entry: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[StateDict]:
    """The sets of weights in one entry: one for each beginning of names behind which the model's follow."""
    parts = {key: _unwrapped(key) for key, value in entry.items() if isinstance(key, str) and _is_number(value)}
    votes: Counter[str] = Counter()
    for split in parts.values():
        votes.update(".".join(split[:k]) for k in range(len(split)) if ".".join(split[k:]) in names)
    inner = {key: [part for part in split if part != "module"] for key, split in parts.items()}
    whole = sum(".".join(split) in names for split in inner.values())
    if whole > max(votes.values(), default=0):  # parts of the model were distributed each on its own
        parts, votes = inner, Counter({"": whole})
    most = max(votes.values(), default=0)
    for prefix, count in sorted(votes.items(), key=lambda one: (-one[1], len(one[0]))) or [("", 0)]:
        if count >= most * _WORTH:
            yield _under(prefix, count, where, entry, parts, names)


def _under(
    prefix: str,
    count: int,
    where: tuple[str, ...],
    entry: Mapping[str, Any],
    parts: Mapping[str, list[str]],
    names: Mapping[str, str],
) -> StateDict:
    depth = len(prefix.split(".")) if prefix else 0
    weights: OrderedDict[str, Tensor] = OrderedDict()
    strangers = []
    for key, split in parts.items():
        if ".".join(split[:depth]) != prefix or len(split) == depth:
            strangers.append(key)
            continue
        name = ".".join(split[depth:])
        weights[names.get(name, name)] = _tensor(entry[key])
    versions = getattr(entry, "_metadata", None)
    if isinstance(versions, Mapping):
        # Modules see by these how old their weights are.
        kept = {}
        for key, value in versions.items():
            split = _unwrapped(str(key)) if key else []
            if ".".join(split[:depth]) == prefix:
                kept[".".join(split[depth:])] = value
        weights._metadata = kept  # type: ignore[attr-defined]
    return StateDict(".".join((*where, *([prefix] if prefix else []))), weights, count, strangers)


def _tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    array = np.array(value)  # a copy that may be written to
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
