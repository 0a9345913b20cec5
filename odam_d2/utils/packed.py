"""State dicts packed small: matrices as whole numbers, or as whole numbers' differences from another checkpoint."""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from detectron2.utils.file_io import PathManager

from .quantised import dequantise, quantise

# Told by Detectron2's checkpointer, as a key of a type that it doesn't know, when somebody gives it such a file.
FORM = "weights packed by odam_d2: give their address, odam://NAME.pth, in place of the file"
_DIFFERENCE_LEVELS = (3, 7, 15, 31, 63, 127)
# Tensors with fewer weights, outputs and the stem among them, have all levels of a byte: they are no part of the size.
_SMALL = 10_000


def pack(
    state: Mapping[str, torch.Tensor], levels: int = 127, base: str | None = None, fewest: int = 7
) -> dict[str, Any]:
    """Packs weights.

    Floating tensors of two and more axes become whole numbers. Where `base` has a tensor of that name and shape, the
    difference from it is taken if fewer levels leave no larger an error that way: training moves weights little.
    Biases, norms and integers stay as they are.

    Args:
        state: the weights.
        levels: see :func:`~odam_d2.utils.quantised.quantise`; small tensors always have 255.
        base: address or path of the checkpoint that training began with.
        fewest: levels that a difference has at least. Where training moved weights by less than `levels` tells apart,
            an error as small as theirs could lose all of what it did.

    Returns:
        What ``torch.load(weights_only=True)`` can read and :func:`unpack` takes; not a checkpoint.
    """
    before = _load_base(base) if base else {}
    packed = {key: _pack_one(value, before.get(key), levels, fewest) for key, value in state.items()}
    return {FORM: 1, "base": base, "base_checksum": state_checksum(before) if base else None, "weights": packed}


def _pack_one(
    value: torch.Tensor, before: torch.Tensor | None, levels: int, fewest: int
) -> torch.Tensor | dict[str, Any]:
    if not value.is_floating_point() or value.dim() < 2:
        return value
    levels = 255 if value.numel() < _SMALL else levels
    steps, scale = quantise(value, levels)
    if before is not None and before.shape == value.shape:
        difference = value.float() - before
        allowed = (value.float() - dequantise(steps, scale)).norm()
        for fewer in (number for number in _DIFFERENCE_LEVELS if fewest <= number < levels):
            small, its_scale = quantise(difference, fewer)
            if (difference - dequantise(small, its_scale)).norm() <= allowed:
                return {"steps": small, "scale": its_scale, "difference": True}
    return {"steps": steps, "scale": scale, "difference": False}


def is_packed(content: Any) -> bool:
    """Whether this is what :func:`pack` returns."""
    return isinstance(content, Mapping) and FORM in content


def unpack(content: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The weights that were packed, whole numbers as float32.

    Raises:
        ValueError: if the base is not the one that they were packed with.
    """
    before: dict[str, torch.Tensor] = {}
    if content["base"]:
        before = _load_base(content["base"])
        if state_checksum(before) != content["base_checksum"]:
            raise ValueError(
                f"the base of packed weights must be as it was; {content['base']!r} has changed: pack them anew with "
                "tools/research/bundle_weights.py"
            )
    return {key: _unpack_one(value, before.get(key)) for key, value in content["weights"].items()}


def _unpack_one(value: torch.Tensor | Mapping[str, Any], before: torch.Tensor | None) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value
    weight = dequantise(value["steps"], value["scale"])
    if not value["difference"]:
        return weight
    assert before is not None  # a difference has its base
    return weight + before


def _load_base(address: str) -> dict[str, torch.Tensor]:
    return torch.load(PathManager.get_local_path(address), map_location="cpu", weights_only=True)["model"]


def state_checksum(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of names and values of a state, in their order."""
    found = hashlib.sha256()
    for key, value in state.items():
        found.update(key.encode("utf-8"))
        # A tensor of its own, for numpy has no bfloat16, and only memory without gaps is seen as bytes.
        whole = torch.empty(value.numel(), dtype=value.dtype).copy_(value.detach().reshape(-1))
        found.update(whole.view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
