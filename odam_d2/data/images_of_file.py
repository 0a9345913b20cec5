"""The images of a COCO file: entries by id, where they lie, and how large they are."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from .account import IMAGES, Account
from .entries import read_image
from .image_names import Ident, ImageName, ImageNames, Matching, files_below
from .images import SUFFIXES, read_image_size
from .values import UnusableError, shown

SIZE = ("height", "width")


@dataclass
class FileImages:
    """The image entries of a file.

    Attributes:
        account: where they are counted.
        by_id: records without annotations, in the order of the file.
        names: what each is called, by id.
        places: place of each in the file, by id; the account knows it by this.
    """

    account: Account
    by_id: dict[Ident, dict] = field(default_factory=dict)
    names: dict[Ident, ImageName] = field(default_factory=dict)
    places: dict[Ident, int] = field(default_factory=dict)

    def read(self, items: list) -> None:
        """Reads the entries; those that can't be used are left out.

        Raises:
            ValueError: if one id is that of two images, or one file name that of two ids.
        """
        for place, item in enumerate(items):
            try:
                entry = read_image(item)
            except UnusableError as error:
                self.account.leave_out(IMAGES, name_of(item, place), None, error)
                continue
            ident, name = entry.values["id"], entry.values["name"]
            record = {"file_name": name.file_name, "image_id": ident}
            record |= {side: entry.values[side] for side in SIZE if side in entry.values}
            if ident in self.by_id:
                self._require_same(ident, name, record)
                self.account.leave_out(IMAGES, ident, name.file_name, UnusableError("the same entry again"))
                continue
            self.by_id[ident] = {**record, "annotations": []}
            self.names[ident], self.places[ident] = name, place
            self.account.add(IMAGES, place, name.file_name, dict.fromkeys(entry.repairs))
        self.index = ImageNames(self.names)

    def _require_same(self, ident: Ident, name: ImageName, record: dict) -> None:
        first = self.by_id[ident]
        if name == self.names[ident] and all(first.get(side) == record.get(side) for side in SIZE):
            return
        raise ValueError(
            f"two images have the id {ident!r}: {_described(first)} and {_described(record)}: give each image an id of "
            "its own"
        )

    def match(self, paths: Iterable[Path]) -> dict[Path, dict]:
        """Records of images, by path; what no image is, and images without a record, go to the account."""
        paths = list(paths)
        matching = self.index.match(paths)
        self._count_repairs(matching)
        found = {path: self.by_id[ident] for ident, path in matching.paths.items()}
        self._tell_unused(set(matching.paths))
        self.account.unnamed([str(path) for path in paths if path not in found])
        return found

    def find_one(self, path: Path) -> dict | None:
        """The record of one image, without a word to the account."""
        idents = list(self.index.match([path]).paths)
        return self.by_id[idents[0]] if idents else None

    def locate(self, folder: str | os.PathLike) -> None:
        """Finds the images below a folder, and their sizes where the file doesn't have them."""
        given = {ident: Path(folder) / name.file_name for ident, name in self.names.items()}
        here = {ident: path for ident, path in given.items() if os.path.isfile(path)}
        matching = Matching(dict(here))
        if len(here) < len(given) and os.path.isdir(folder):
            matching = self.index.match([path for path in files_below(Path(folder), SUFFIXES)], here)
        self._count_repairs(matching)
        for ident, record in self.by_id.items():
            record["file_name"] = str(matching.paths.get(ident, given[ident]))
        self._unfound = set(self.by_id) - set(matching.paths)
        self._others = _others(matching.paths)
        self._add_sizes(matching.paths)

    def tell_of_folder(self) -> None:
        """Says which images of the file the folder doesn't hold, and which of the folder the file doesn't name."""
        self._tell_unused(set(self.by_id) - self._unfound)
        self.account.unnamed(self._others)

    def _tell_unused(self, used: set) -> None:
        for ident, record in self.by_id.items():
            if ident not in used:
                self.account.unused(self.names[ident].file_name, len(record["annotations"]))

    def _count_repairs(self, matching: Matching) -> None:
        for ident, repair in matching.repairs.items():
            self.account.repair(IMAGES, self.places[ident], self.names[ident].file_name, repair)

    def _add_sizes(self, paths: Mapping[Ident, Path]) -> None:
        lacking = [ident for ident in paths if not all(side in self.by_id[ident] for side in SIZE)]
        for ident in tqdm(lacking, desc="sizes of images", unit="image", delay=5):
            try:
                size = read_image_size(paths[ident])
            except ValueError:  # it is told where the image is needed
                continue
            self.by_id[ident] |= dict(zip(SIZE, size, strict=True))
            repair = "sizes that the file lacks, taken from the image"
            self.account.repair(IMAGES, self.places[ident], self.names[ident].file_name, repair)


def name_of(item: object, place: int) -> int | str:
    """What an entry is called in the account: its id, else its place in the file."""
    ident = item.get("id") if isinstance(item, dict) else None
    if isinstance(ident, int | str) and not isinstance(ident, bool) and ident != "":
        return ident if isinstance(ident, int) and abs(ident) < 10**18 else shown(ident).strip("'\"")
    return f"number {place + 1} of the file"


def _described(record: dict) -> str:
    size = " x ".join(str(record[side]) for side in reversed(SIZE) if side in record)
    return repr(record["file_name"]) + (f" of {size}" if size else "")


def _others(paths: Mapping[Ident, Path]) -> list[str]:
    """Images beside those that were found, which no entry names."""
    known = set(map(str, paths.values()))
    folders = sorted({os.path.dirname(path) for path in known})
    beside = (entry.path for folder in folders for entry in os.scandir(folder or "."))
    return sorted(path for path in beside if path.lower().endswith(SUFFIXES) and path not in known)
