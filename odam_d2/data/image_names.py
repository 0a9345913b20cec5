"""Finds the image that each entry of an annotation file means, however its tool wrote the name.

Names are tried from the surest to the loosest, and a looser one counts only where it finds exactly one image.
"""

import posixpath
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

Ident = int | str
Parts = tuple[str, ...]
_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")  # what Label Studio puts before the name of an uploaded file
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class ImageName:
    """What an entry calls its image.

    Attributes:
        file_name: as the file has it.
        original: the name before a tool renamed the image (Roboflow's ``extra.name``), where the file has it.
    """

    file_name: str
    original: str | None = None


@dataclass
class Matching:
    """Which images are which entries'.

    Attributes:
        paths: the image of each entry, by its key; entries without an image are missing.
        repairs: by key, how an image was found that is not called as the entry says.
    """

    paths: dict[Ident, Path] = field(default_factory=dict)
    repairs: dict[Ident, str] = field(default_factory=dict)


def name_parts(name: str) -> Parts:
    """Folders and file name of a path, whichever separators it has; without drive, ``.`` and ``..``."""
    return tuple(
        part for part in re.split(r"[/\\]", name) if part not in ("", ".", "..") and not _DRIVE.fullmatch(part)
    )


def _as_written(name: ImageName) -> Parts:
    return tuple(part for part in PurePosixPath(name.file_name).parts if part != "/")


def _any_separator(name: ImageName) -> Parts:
    return name_parts(name.file_name)


def _original(name: ImageName) -> Parts:
    return name_parts(name.original or "")


def _without_prefix(name: ImageName) -> Parts:
    parts = name_parts(name.file_name)
    return (*parts[:-1], _UPLOADED.sub("", parts[-1], count=1)) if parts else ()


def _folded(name: ImageName) -> Parts:
    return _fold(name_parts(name.file_name))


def _fold(parts: Parts) -> Parts:
    return tuple(unicodedata.normalize("NFC", unquote(part)).casefold() for part in parts)


def _plain(parts: Parts) -> Parts:
    return parts


@dataclass(frozen=True)
class _Way:
    """One way to find images.

    Attributes:
        parts: of an entry's name.
        of_path: what the parts of a path are compared as.
        whole: whether all folders of the entry must be those of the path; else the most in common count.
        sure: whether two images that could be meant are a contradiction; else the way is passed over.
        repair: what is said of images that it finds.
    """

    parts: Callable[[ImageName], Parts]
    of_path: Callable[[Parts], Parts] = _plain
    whole: bool = False
    sure: bool = False
    repair: str | None = None


_WAYS = (
    _Way(_as_written, whole=True, sure=True),
    _Way(_any_separator, whole=True, sure=True, repair="`\\` and `..` in its file name taken as folders"),
    _Way(_any_separator, sure=True, repair="found by its file name in another folder"),
    _Way(_original, repair="found by `extra.name`"),
    _Way(_without_prefix, repair="the prefix of an upload, 8 hex digits and a dash, dropped from its file name"),
    _Way(_folded, _fold, repair="found by its file name in other case, or with escaped characters"),
)


class ImageNames:
    """The names of all entries of a file.

    Args:
        names: what each entry calls its image, by a key.

    Raises:
        ValueError: if two entries have the same name.
    """

    def __init__(self, names: Mapping[Ident, ImageName]):
        self._names = dict(names)
        self._indices: list[dict[str, list[tuple[Parts, Ident]]]] = []
        for way in _WAYS:
            index: dict[str, list[tuple[Parts, Ident]]] = {}
            for key, name in self._names.items():
                if parts := way.parts(name):
                    index.setdefault(parts[-1], []).append((parts, key))
            self._indices.append(index)
        self._require_distinct()

    def _require_distinct(self) -> None:
        first: dict[str, Ident] = {}
        for key, name in self._names.items():
            normal = posixpath.normpath(name.file_name.replace("\\", "/"))
            if first.setdefault(normal, key) != key:
                raise ValueError(
                    f"images {first[normal]!r} and {key!r} both have the file name {name.file_name!r}: give file names "
                    "with their folders, or make them one image"
                )

    def match(self, paths: Collection[Path], found: Mapping[Ident, Path] | None = None) -> Matching:
        """Which of some images each entry means.

        Args:
            paths: the images.
            found: images of entries that are known already.

        Raises:
            ValueError: if an entry could mean several images, or several entries one; the message names both.
        """
        matching = Matching(dict(found or {}))
        taken = set(matching.paths.values())
        absolute = {path: _path_parts(path) for path in paths}
        for way, index in zip(_WAYS, self._indices, strict=True):
            rest = [path for path in absolute if path not in taken]
            wanted: dict[Ident, list[Path]] = {}
            given: dict[Path, list[Ident]] = {}
            for path in rest:
                keys = self._candidates(way, index, way.of_path(absolute[path]), matching)
                given[path] = keys
                for key in keys:
                    wanted.setdefault(key, []).append(path)
            for key, own in self._best(way, wanted, absolute).items():
                self._settle(way, key, own, given, matching, taken)
        return matching

    def _candidates(self, way: _Way, index: dict, parts: Parts, matching: Matching) -> list[Ident]:
        """Keys of the entries that a path could be the image of: those with the most folders in common."""
        named = index.get(parts[-1], ())
        shares = {key: _in_common(own, parts) for own, key in named if key not in matching.paths}
        if way.whole:
            shares = {key: shares[key] for own, key in named if shares.get(key) == len(own)}
        elif len(named) > 1:  # folders tell the entries apart, so that the file name alone isn't enough
            tied = not any(key in matching.paths for _, key in named)
            shares = {key: share for key, share in shares.items() if share > 1 or tied}
        most = max(shares.values(), default=0)
        return [key for key, share in shares.items() if share == most]

    def _best(self, way: _Way, wanted: dict, absolute: Mapping[Path, Parts]) -> dict[Ident, list[Path]]:
        """Of the paths that each entry could mean, those with the most folders in common."""
        best = {}
        for key, own in wanted.items():
            parts = way.parts(self._names[key])
            shares = {path: _in_common(parts, way.of_path(absolute[path])) for path in own}
            best[key] = [path for path in own if shares[path] == max(shares.values())]
        return best

    def _settle(self, way, key, own, given, matching, taken) -> None:
        rivals = given[own[0]]
        if len(own) == 1 and len(rivals) == 1:
            matching.paths[key] = own[0]
            taken.add(own[0])
            if way.repair is not None:
                matching.repairs[key] = way.repair
        elif not way.sure:
            return
        elif len(own) > 1:
            raise ValueError(
                f"image {key!r}, {self._names[key].file_name!r}, could be {str(own[0])!r} or {str(own[1])!r}: give "
                "file names with their folders, or leave one of the images out"
            )
        else:
            names = [self._names[rival].file_name for rival in rivals]
            raise ValueError(
                f"the annotations must name an image once; got {names} for {str(own[0])!r}: give file names with "
                "their folders"
            )


def _path_parts(path: Path) -> Parts:
    return path.absolute().parts


def _in_common(first: Parts, second: Parts) -> int:
    """How many parts are the same, from the end."""
    count = 0
    for one, other in zip(reversed(first), reversed(second)):
        if one != other:
            break
        count += 1
    return count


def files_below(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """All images below a folder, in order of their paths."""
    wanted = tuple(suffixes)
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in wanted and path.is_file())


def other_name(entry: Mapping[str, Any]) -> str | None:
    """Roboflow's ``extra.name``, where an entry has one."""
    extra = entry.get("extra")
    name = extra.get("name") if isinstance(extra, dict) else None
    return name if isinstance(name, str) and name.strip() else None
