"""Loading weights that must fit, from files of any kind, and saving them whole."""

import logging
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts
from detectron2.utils.file_io import PathManager
from fvcore.common.checkpoint import Checkpointer
from torch import nn

from .files import atomic_write
from .packed import is_packed, unpack
from .state_dicts import StateDict, choose, state_dicts, worth_naming
from .weight_files import CheckpointError, cannot_read, check_is_file, read_weights_file

_NAMED = 8  # keys of a kind that a message lists
# Of the config, not of training: old checkpoints don't have them.
_FROM_CONFIG = ("pixel_mean", "pixel_std")


class _WholeFiles:
    """Detectron2's path manager, but what it opens for writing appears once it is complete."""

    def open(self, path: str, mode: str = "r", **kwargs: Any) -> Any:
        if mode in ("w", "wb") and "://" not in path:
            return atomic_write(path, mode)
        return PathManager.open(path, mode, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(PathManager, name)


class OdamCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer for files of any origin.

    It never runs code that a file carries. It finds the weights in entries of any name (``model``, ``state_dict``,
    ``ema``) and under names that begin with ``module.``, ``_orig_mod.``, ``model.`` and the like. It says how many fit,
    and writes checkpoints whole or not at all. Where a file holds several sets of weights, ``PATH?key=ema`` reads
    another than the first; Detectron2's own ``?matching_heuristics=True`` works as well.

    Args:
        model: gets the weights.
        save_dir: where checkpoints are written.
        strict: whether every name and shape must fit. Otherwise one must, and the log names those that don't.
        options: see :class:`DetectionCheckpointer`.
    """

    def __init__(self, model: nn.Module, save_dir: str = "", *, strict: bool = False, **options: Any):
        super().__init__(model, save_dir, **options)
        self.path_manager = _WholeFiles()
        self.strict = strict
        self._shown, self._queries = "", dict[str, str]()

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Loads a checkpoint.

        Args:
            path: a file or an address that the path manager knows; empty for none.
            checkpointables: see :class:`Checkpointer`.

        Returns:
            What the checkpoint holds beside the weights, e.g. ``iteration``.

        Raises:
            CheckpointError: if it can't be read, or doesn't fit.
            FileNotFoundError: if there is no such file.
        """
        if not path:
            return super().load(path, checkpointables)
        self._shown = os.fspath(path)
        place, self._queries = split_address(self._shown)
        local = _fetch(place, self._shown)
        try:
            if "?" in local:  # of a file's name; Detectron2 takes it for a query
                return Checkpointer.load(self, local, checkpointables)
            return super().load(local, checkpointables)
        finally:
            self._parsed_url_during_load = None  # also where it fails

    def get_checkpoint_file(self) -> str:
        """The last checkpoint in the folder.

        Raises:
            CheckpointError: if ``last_checkpoint`` names none.
        """
        path = super().get_checkpoint_file()
        if not os.path.basename(path):
            raise CheckpointError(
                f"'last_checkpoint' in {self.save_dir!r} must name a checkpoint; it is empty: write the name of the "
                "last whole one into it, or leave --resume out"
            )
        return path

    def _load_file(self, filename: str) -> dict[str, Any]:
        content = read_weights_file(filename, self._shown)
        if is_packed(content):
            return {"model": unpack(content)}
        found = state_dicts(content, self.model.state_dict())
        queries = dict(self._queries)
        key, guess = queries.pop("key", None), queries.pop("matching_heuristics", "False") == "True"
        if queries:
            raise CheckpointError(
                f"an address may end in ?key=NAME or ?matching_heuristics=True; got {self._shown!r}: leave the rest out"
            )
        if not isinstance(content, Mapping) or not found:
            kind = f"a {type(content).__name__}" + (f" of {_shorten(list(map(str, content)))}" if content else "")
            raise cannot_read(
                self._shown, f"holds no weights but {kind}", "save a state dict, {'model': model.state_dict()}"
            )
        one = self._choose(found, key)
        top = one.where.partition(".")[0]
        arrays = (torch.Tensor, np.ndarray)
        extras = {name: value for name, value in content.items() if name != top and not isinstance(value, arrays)}
        guess = guess or content.get("matching_heuristics", False)
        author = content.get("__author__")
        if filename.endswith(".pkl") and not author and ("blobs" in content or not one.fitting):
            author, guess = "Caffe2", True
            for name in [name for name in one.weights if name.endswith("_momentum")]:
                del one.weights[name]
        if filename.endswith(".pyth"):
            author, guess = "pycls", True
            for name in [name for name in one.weights if name.endswith("num_batches_tracked")]:
                del one.weights[name]
        return {**extras, "model": one.weights, "__author__": author, "matching_heuristics": guess}

    def _choose(self, found: list[StateDict], key: str | None) -> StateDict:
        one, log = found[0], logging.getLogger(__name__)
        if key is not None:
            chosen = choose(found, key)
            if chosen is None:
                known = [each.where for each in found if each.where]
                raise CheckpointError(
                    f"?key= must name weights in {split_address(self._shown)[0]!r}; got {key!r}: choose one of {known}"
                )
            return chosen
        others = [each for each in worth_naming(found) if each is not one and each.where != one.where]
        place = split_address(self._shown)[0]
        if others:
            named = " or ".join(f"'{place}?key={each.where}'" for each in others[:3])
            log.warning(
                "%s holds several sets of weights: %r was read; for %s give MODEL.WEIGHTS %s",
                place, one.where, "the other" if len(others) == 1 else "others", named,
            )  # fmt: skip
        elif one.averaged and one.fitting:
            log.warning("%s: the weights that were read are averages (EMA), %r; it holds no others", place, one.where)
        if one.strangers and one.fitting and not others:
            log.warning("%s: not of this model, and left out: %s", place, _shorten(one.strangers))
        return one

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        wanted = self.model.state_dict()
        if checkpoint.pop("matching_heuristics", False):
            checkpoint["model"] = align_and_update_state_dicts(
                wanted, checkpoint["model"], c2_conversion=checkpoint.get("__author__") == "Caffe2"
            )
        names = list(checkpoint["model"])
        try:
            incompatible = super()._load_model(checkpoint)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"the checkpoint must fit the model; {self._shown!r}: {reason}") from error
        relevant = [name for name in wanted if name.rpartition(".")[2] not in _FROM_CONFIG]
        misshapen = {name for name, *_ in incompatible.incorrect_shapes}
        fitting = sum(name in relevant and name not in misshapen for name in names)
        self._judge(incompatible, fitting, relevant, names)
        return incompatible

    def _judge(self, incompatible: Any, fitting: int, relevant: list[str], names: list[str]) -> None:
        faults = _describe(incompatible)
        count = f"{fitting} of the model's {len(relevant)} tensors fit"
        if not fitting and relevant:
            told = "; ".join(faults) if incompatible.incorrect_shapes else (
                f"the model has {_shorten(relevant[:2], len(relevant))}, and the file {_shorten(names[:2], len(names))}"
            )  # fmt: skip
            raise CheckpointError(
                f"the checkpoint must fit the model; of {self._shown!r} nothing does, {told}: check that MODEL.WEIGHTS "
                "belongs to the config"
            )
        if not faults:
            return
        if self.strict:
            raise CheckpointError(
                f"the checkpoint must fit the model; {self._shown!r} has {'; '.join(faults)}: check that MODEL.WEIGHTS "
                f"belongs to the config, and the number of classes ({count})"
            )
        logging.getLogger(__name__).warning("%s: %s; it has %s", self._shown, count, "; ".join(faults))


def load_checkpoint_strictly(model: nn.Module, path: str | os.PathLike) -> dict[str, Any]:
    """Loads weights into a model, all of them or none that matter: what doesn't fit is an error.

    Takes what :class:`OdamCheckpointer` takes: files of ``torch.save`` with or without an entry ``model`` or the like
    around the weights and with optimizer state beside them, in any precision; the model zoos' ``.pkl`` files;
    safetensors; the addresses that Detectron2's path manager knows. And packed files (:mod:`odam_d2.utils.packed`),
    which that knows by their address alone. It overlooks a missing ``pixel_mean`` and ``pixel_std``, which come from
    the config, and the anchors that old checkpoints hold.

    Args:
        model: gets the weights.
        path: of the checkpoint; ``?key=ema`` behind it chooses among several sets of weights.

    Returns:
        What the checkpoint holds beside the weights, e.g. ``iteration``.

    Raises:
        CheckpointError: if the file isn't a checkpoint, or keys are missing, unexpected or of another shape; the
            message names them. The keys that fit are then loaded already.
        FileNotFoundError: if there is no such file.
    """
    return OdamCheckpointer(model, strict=True).load(os.fspath(path), checkpointables=[])


def split_address(address: str) -> tuple[str, dict[str, str]]:
    """An address without what follows its question mark, and that by name; a file whose name has one is left whole."""
    place, mark, rest = address.rpartition("?")
    if not mark or os.path.exists(address):
        return address, {}
    return place, {name: values[-1] for name, values in parse_qs(rest, keep_blank_values=True).items()}


def _fetch(place: str, shown: str) -> str:
    """The local file behind an address."""
    try:
        local = PathManager.get_local_path(place)
    except FileNotFoundError:  # of bundled weights: says which there are
        raise
    # Whatever a connection, a cache folder or a catalog may raise.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(
            f"the weights must be a checkpoint that can be fetched; got {shown!r} ({reason}): check the address and "
            "the network, or name a file that was downloaded elsewhere"
        ) from error
    check_is_file(local, shown)
    return local


def _describe(incompatible: Any) -> list[str]:
    mismatched = {key: (found, wanted) for key, found, wanted in incompatible.incorrect_shapes}
    # A key of another shape wasn't loaded, so it counts as missing too: once is enough.
    missing = [key for key in incompatible.missing_keys if key not in mismatched]
    shapes = [f"{key} {tuple(found)} instead of {tuple(wanted)}" for key, (found, wanted) in mismatched.items()]
    kinds = (
        ("missing", missing),
        ("unexpected", list(incompatible.unexpected_keys)),
        ("of another shape", shapes),
    )
    return [f"{len(keys)} {kind} ({_shorten(keys)})" for kind, keys in kinds if keys]


def _shorten(keys: list[str], total: int | None = None) -> str:
    rest = (len(keys) if total is None else total) - len(keys[:_NAMED])
    return ", ".join(keys[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
