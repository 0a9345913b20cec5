"""What became of the images that somebody named: read, read with a remark, left out."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..utils.words import printable

_MOST_LINES = 6  # on a terminal, of each kind


class ImageAccount:
    """Counts images, and files beside them that are none.

    Args:
        images: how many images were found.
        left_out: (path, reason) of the files that were left out.
    """

    def __init__(self, images: int, left_out: Iterable[tuple[Path, str]] = ()):
        self.images = images
        self.left_out = _grouped(left_out)
        self.remarks: dict[str, list[str]] = {}

    def remark(self, path: Path, remarks: Iterable[str]) -> None:
        """Notes what was done to an image that its owner may not expect."""
        for words in remarks:
            self.remarks.setdefault(words, []).append(str(path))

    def left_out_lines(self) -> list[str]:
        """What was left out, in a few lines; none where nothing was."""
        return _told("left out", "file", self.left_out)

    def remark_lines(self) -> list[str]:
        """The remarks, in a few lines."""
        return _told("read", "image", self.remarks)

    def as_json(self) -> dict[str, Any]:
        """The whole account, as JSON can hold it: reason -> files, and remark -> files."""
        return {"images": self.images, "left_out": self.left_out, "remarks": self.remarks}

    def facts(self) -> dict[str, str]:
        """The whole account as texts, for the page."""
        told = [("left out", self.left_out), ("read", self.remarks)]
        return {
            f"{kind}: {words}": f"{len(files)}: {', '.join(map(printable, files))}"
            for kind, groups in told
            for words, files in groups.items()
        }


def _grouped(left_out: Iterable[tuple[Path, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for path, reason in left_out:
        groups.setdefault(reason, []).append(str(path))
    return groups


def _told(kind: str, noun: str, groups: Mapping[str, list[str]]) -> list[str]:
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    lines = [
        f"{kind}: {len(files)} {noun}{'' if len(files) == 1 else 's'}, {words}, e.g. {printable(files[0])}"
        for words, files in ordered[:_MOST_LINES]
    ]
    more = len(ordered) - _MOST_LINES
    return [*lines, f"{kind}: and {more} more kinds, see run.json"] if more > 0 else lines
