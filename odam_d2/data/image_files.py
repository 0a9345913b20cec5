"""Finds the images that a user means, and says which files beside them are none."""

import fnmatch
import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from .images import SUFFIXES

# What runs of the commands draw: beside a file of such a name, files of these are no images to explain.
HEATMAPS = "heatmaps.npz"
DRAWINGS = {
    HEATMAPS: ("overlay.jpg", "det_[0-9][0-9][0-9]*.jpg"),
    "metrics.json": ("curve_*.png", "sanity.png"),
    "grid.json": ("tune.png",),
}
# Images of a report, as ends of their paths; they lie in the folder of a run, beside its store.
_OF_REPORT = re.compile(r"report/(images|thumbs)/([0-9a-f]{2})/\2[0-9a-f]{18}\.jpg")

_DROPPING = "left behind by a system or a program"
_OUR_DRAWING = "drawn by an earlier run"
# What systems and programs leave beside images, in lower case.
_FILES = frozenset(
    "thumbs.db ehthumbs.db ehthumbs_vista.db desktop.ini .ds_store .localized .directory .nomedia .picasa.ini "
    "picasa.ini zbthumbnail.info icon\r .gitkeep .gitignore .gitattributes".split(" ")
)
_FOLDERS = frozenset(
    "__macosx .ipynb_checkpoints .appledouble .fseventsd .spotlight-v100 .trashes .temporaryitems @eadir #recycle "
    "$recycle.bin .thumbnails .git .svn .cache __pycache__ lost+found".split()
) | {"system volume information"}
_BEGINNINGS = ("._", "~$", ".trash-", ".fuse_hidden", ".nfs", ".syncthing.", ".~lock.")

_REASONS = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIF, which takes `pip install pillow-heif`"),
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
        "a camera's raw data: develop it"),
    **dict.fromkeys((".svg", ".svgz", ".eps", ".ps", ".ai", ".pdf", ".wmf", ".emf"), "no image of pixels: export one"),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".m4v"), "a video: take frames out"),
    **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"), "an archive: unpack it"),
    **dict.fromkeys((".jxl", ".exr", ".hdr", ".npy", ".npz", ".fits", ".fit", ".nii", ".dcm", ".h5"),
        "of a format that Pillow doesn't read: save it as PNG"),
}  # fmt: skip
_NO_IMAGE = "no image by its suffix"
_HIDDEN = "hidden, which patterns leave out"
_KNOWN_BY_BEGINNING = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "TIFF", "WEBP")


@dataclass(frozen=True)
class FoundImages:
    """The images that somebody means.

    Attributes:
        paths: of the images, in natural order (``2.jpg`` before ``10.jpg``); they were not read so far.
        left_out: (path, reason) of each file that is none, in the same order.
    """

    paths: list[Path]
    left_out: list[tuple[Path, str]] = field(default_factory=list)


def find_images(
    sources: str | os.PathLike | Sequence[str | os.PathLike], output: str | os.PathLike | None = None
) -> FoundImages:
    """Finds the images that a user means.

    A file that is named is taken whatever it is called. Of folders and patterns those files are taken whose suffix is
    an image's (:data:`~odam_d2.data.images.SUFFIXES`), and files without a suffix that begin as an image does. What
    systems leave behind (``._cat.jpg``, ``Thumbs.db``, ``__MACOSX/``), and what this package has drawn into `output` or
    beside heat maps, is left out.

    Args:
        sources: one or several of these: an image; a folder, for the images in it (its subfolders are not searched); a
            glob pattern, in which ``**`` stands for any depth of folders. A path that exists comes before a pattern.
        output: folder that the run will write to.

    Returns:
        The images, each once, at least one; and what was left out.

    Raises:
        ValueError: if a source has no image; says what there is instead.
    """
    several = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    paths: dict[str, Path] = {}
    left_out: dict[str, tuple[Path, str]] = {}
    for source in several:
        found = _find(source, None if output is None else Path(output))
        paths |= {_place(path): path for path in reversed(found.paths)}
        left_out |= {_place(path): (path, reason) for path, reason in found.left_out}
    return FoundImages(
        sorted(paths.values(), key=_natural),
        sorted((one for key, one in left_out.items() if key not in paths), key=lambda one: _natural(one[0])),
    )


def _place(path: Path) -> str:
    """What two paths to one file have in common, also over a linked folder; links to files are files of their own."""
    return os.path.join(os.path.realpath(path.parent), path.name)


def _find(source: str | os.PathLike, output: Path | None) -> FoundImages:
    text = os.fspath(source)
    if not text or "\0" in text:
        raise ValueError(f"`input` must be an image, a folder or a glob pattern; got {text!r}: name one")
    path = Path(text).expanduser()
    if path.is_file():
        return FoundImages([path])
    if path.is_dir():
        base, files, hidden = path, list(path.iterdir()), set[Path]()
    elif glob.has_magic(text):
        base, pattern = _split(path)
        files = [base / one for one in glob.glob(pattern, root_dir=base, recursive=True, include_hidden=True)]
        hidden = set(files) - {base / one for one in glob.glob(pattern, root_dir=base, recursive=True)}
    else:
        raise ValueError(
            f"`input` must be an image, a folder or a glob pattern; got {text!r}: there is no such file or folder"
        )
    judge = _Judge(base, output)
    found = FoundImages([], [])
    for file in files:
        if file.is_dir():
            continue
        reason = judge.why_not(file)
        if file in hidden:
            # What else is hidden, the files of git for example, nobody takes for an image.
            reason = reason if reason == _DROPPING else _HIDDEN if reason is None else None
            if reason is None:
                continue
        if reason is None:
            found.paths.append(file)
        else:
            found.left_out.append((file, reason))
    if not found.paths:
        raise ValueError(_nothing(text, path, found.left_out))
    return found


def _split(path: Path) -> tuple[Path, str]:
    """A pattern's leading folders that exist as they are written, and the rest of it."""
    base, rest = Path(path.anchor), list(path.parts[len(Path(path.anchor).parts) :])
    while len(rest) > 1 and (base / rest[0]).is_dir():
        base /= rest.pop(0)
    return base, os.path.join(*rest)


class _Judge:
    """Tells images from other files.

    Args:
        base: folder that the files were found in.
        output: folder that the run will write to.
    """

    def __init__(self, base: Path, output: Path | None):
        self.base = base
        # A run may write into the folder of its images, or above it; then a folder alone tells nothing.
        self.output = output if output is not None and _lies_in(output, base) else None

    def why_not(self, file: Path) -> str | None:
        """Why a file is no image to read; None where it is one."""
        folders = file.relative_to(self.base).parts[:-1]
        if _is_dropping(file.name) or any(folder.casefold() in _FOLDERS for folder in folders):
            return _DROPPING
        if not file.exists():
            return "a link to nothing"
        if not file.is_file():
            return "no regular file"
        if self._is_ours(file):
            return _OUR_DRAWING
        suffix = f".{file.name.rpartition('.')[2].lower()}" if "." in file.name else ""
        if suffix in SUFFIXES:
            return None
        if suffix in _REASONS:
            return _REASONS[suffix]
        # frame.0001, or a name without any: such files are looked into.
        return None if not suffix[1:].isalpha() and _begins_as_image(file) else _NO_IMAGE

    def _is_ours(self, file: Path) -> bool:
        if self.output is not None and _lies_in(file, self.output):
            return True
        end = "/".join(file.parts[-4:])
        if _OF_REPORT.fullmatch(end) and (file.parents[3] / "store" / "settings.json").is_file():
            return True
        return any(
            (file.parent / beside).is_file()
            for beside, patterns in DRAWINGS.items()
            if any(fnmatch.fnmatchcase(file.name, pattern) for pattern in patterns)
        )


def _is_dropping(name: str) -> bool:
    name = name.casefold()
    return name in _FILES or name.startswith(_BEGINNINGS)


def _begins_as_image(file: Path) -> bool:
    try:
        with Image.open(file, formats=_KNOWN_BY_BEGINNING):
            return True
    except Exception:  # see read_image_bgr
        return False


def _lies_in(path: Path, folder: Path) -> bool:
    """Whether a path is below a folder, links followed."""
    path, folder = path.resolve(), folder.resolve()
    return path != folder and path.is_relative_to(folder)


def _nothing(text: str, path: Path, left_out: Iterable[tuple[Path, str]]) -> str:
    """The message where there is no image."""
    reasons: dict[str, list[str]] = {}
    for file, reason in left_out:
        reasons.setdefault(reason, []).append(file.name)
    told = "; ".join(f"{len(names)} {reason}, e.g. {names[0]!r}" for reason, names in reasons.items())
    if not path.is_dir():
        return (
            f"`input` must be a pattern that matches images; got {text!r}, and its files are none: {told}"
            if told
            else f"`input` must be a pattern that matches files; got {text!r}: no file has such a path"
        )
    if told:
        remedy = f"its files are none: {told}"
    else:
        remedy = "it holds no file"
    deeper = sorted(one.name for one in path.iterdir() if one.is_dir() and one.name.casefold() not in _FOLDERS)
    if deeper:
        pattern = os.path.join(glob.escape(text), "**", "*")
        remedy += f"; subfolders such as {deeper[0]!r} are not searched: give {pattern!r} for all depths"
    return f"`input` must be a folder with images; got {text!r}: {remedy}"


def _natural(path: Path) -> tuple[list[list[tuple[bool, int, str]]], str]:
    """Sorts numbers by value and before text, text without its case, folder by folder; the path breaks ties."""
    folders = [
        [
            (False, int(run), "") if run.isdecimal() else (True, 0, run)
            for run in re.split(r"(\d+)", part.lower())
            if run
        ]
        for part in path.parts
    ]
    return folders, str(path)
