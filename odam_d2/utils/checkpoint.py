"""Loading weights that must fit."""

import os
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from .packed import is_packed, unpack

_NAMED = 8  # keys of a kind that a message lists


class _StrictCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer, with its conversions and its allowances, keeping what it would only log."""

    incompatible = None

    def _load_file(self, filename: str) -> dict[str, Any]:
        loaded = super()._load_file(filename)
        if is_packed(loaded["model"]):
            loaded["model"] = unpack(loaded["model"])
        return loaded

    def _log_incompatible_keys(self, incompatible: Any) -> None:
        self.incompatible = incompatible


def load_checkpoint_strictly(model: nn.Module, path: str | os.PathLike) -> dict[str, Any]:
    """Loads weights into a model, all of them or none that matter: what doesn't fit is an error.

    Takes whatever Detectron2's ``DetectionCheckpointer`` takes: ``.pth`` files with or without ``{"model": ...}`` and
    with optimizer state beside it, in any precision; the model zoo's ``.pkl`` files; the addresses that its path
    manager knows. And packed files (:mod:`odam_d2.utils.packed`), which that knows by their address alone. Like that,
    it overlooks a missing ``pixel_mean`` and ``pixel_std``, which come from the config, and the anchors that old
    checkpoints hold.

    Args:
        model: gets the weights.
        path: of the checkpoint.

    Returns:
        What the checkpoint holds beside the weights, e.g. ``iteration``.

    Raises:
        ValueError: if the file isn't a checkpoint, or keys are missing, unexpected or of another shape; the message
            names them. The keys that fit are then loaded already.
        FileNotFoundError: if there is no such file.
    """
    path = os.fspath(path)
    checkpointer = _StrictCheckpointer(model)
    if "://" not in path and not os.path.isfile(path):
        raise FileNotFoundError(
            f"`path` must be a checkpoint file; got {path!r}, which doesn't exist: see MODEL.WEIGHTS"
        )
    try:
        extras = checkpointer.load(path, checkpointables=[])
    # A file that is no checkpoint makes the unpickler fail with about anything.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"`path` must be a checkpoint that Detectron2 can read; got {path!r}: {reason}") from error
    faults = _describe(checkpointer.incompatible)
    if faults:
        raise ValueError(
            f"the checkpoint must fit the model; {path!r} has {'; '.join(faults)}: check that MODEL.WEIGHTS belongs to "
            "the config, and the number of classes"
        )
    return extras


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


def _shorten(keys: list[str]) -> str:
    return ", ".join(keys[:_NAMED]) + (f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else "")
