"""Relative paths of weights in a config, wherever it is run from."""

import os
from collections.abc import Iterator
from pathlib import Path

import yaml

from ..utils.checkpoint import split_address

# What the uppermost folder of a project has.
_PROJECT = (".git", "pyproject.toml", "setup.py", "setup.cfg")


def find_beside(weights: str, config_file: str | os.PathLike) -> str:
    """The place of weights that a yaml names.

    Args:
        weights: as ``MODEL.WEIGHTS`` has them: a path or an address.
        config_file: the yaml.

    Returns:
        `weights` as they are, if that is an absolute path, an address, or a path from the working folder, as for
        Detectron2. Else an absolute path, of the first place that has them: the folder of the yaml or of one that it
        is based on, and those above up to its project's. If none has them, `weights` as they are.
    """
    place = split_address(weights)[0]
    if not place or "://" in place or os.path.isabs(place) or os.path.exists(place):
        return weights
    for folder in _folders(Path(config_file)):
        if (folder / place).is_file():
            return str(folder / weights)
    return weights


def _folders(config_file: Path) -> Iterator[Path]:
    for file in _chain(config_file.resolve()):
        above = [file.parent, *file.parent.parents]
        root = next((k for k, one in enumerate(above) if any((one / name).exists() for name in _PROJECT)), 0)
        yield from above[: root + 1]


def _chain(file: Path, depth: int = 0) -> Iterator[Path]:
    """The yaml and those that it is based on."""
    yield file
    try:
        bases = (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("_BASE_", [])
    # It was read already; what safe yaml doesn't know, and what isn't a mapping, has no base that counts.
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return
    for base in [bases] if isinstance(bases, str) else bases:
        if depth < 10 and "://" not in base:
            yield from _chain((file.parent / os.path.expanduser(base)).resolve(), depth + 1)
