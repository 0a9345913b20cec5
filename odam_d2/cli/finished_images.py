"""What ``odam explain`` has finished, on disk, so that an interrupted run can go on."""

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..evaluation.runs.store import ResultStore
from ..loading import DetectorConfig
from ..model_zoo.addresses import weights_checksum
from ..utils.files import file_checksum, remove_unfinished
from ..utils.words import printable

FOLDER = "resume"  # below --output, beside the folders of images


@dataclass(frozen=True)
class Finished:
    """What is known of a finished image.

    Attributes:
        boxes: how many were explained.
        remarks: what reading it did that its owner may not expect.
    """

    boxes: int
    remarks: list[str]


class FinishedImages:
    """The report's entry of each image whose files are written.

    Args:
        output: folder of the run.
    """

    def __init__(self, output: str | os.PathLike):
        self.output = Path(output)
        self.store = ResultStore(self.output / FOLDER)

    def start(self, settings: Mapping[str, Any], resume: bool, folders: Mapping[str, Path]) -> None:
        """Makes the folder ready: for going on, or else without old entries.

        Args:
            settings: whatever an image's files depend on, as JSON can hold it.
            resume: go on with the images that are finished.
            folders: name of each image's folder -> the image.

        Raises:
            ValueError: if those were made with other settings, or of other files.
        """
        for folder in (self.output, *(self.output / name for name in folders)):
            remove_unfinished(folder)
        self.store.start(settings, resume, {name: _told_apart(path) for name, path in folders.items()})

    def keep(self, folder: str, entry: Mapping[str, Any], written: Sequence[str], remarks: Sequence[str] = ()) -> None:
        """Keeps the entry of an image, and remarks, once its files are written: `written` in its folder."""
        about = {"boxes": len(entry["detections"]), "written": list(written), "remarks": list(remarks)}
        self.store.images.write(folder, {**about, "entry": entry})

    def find(self, folder: str) -> Finished | None:
        """What is known of an image that is finished; None if it isn't, or its files are gone."""
        kept = self.store.images.read(folder)
        if kept is None or not all((self.output / folder / name).is_file() for name in kept["written"]):
            return None
        return Finished(kept["boxes"], kept["remarks"])

    def entries(self, names: Mapping[str, str], failed: Mapping[str, Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """Entries of the report, read one at a time: a long run's don't fit into memory.

        Args:
            names: folder of each image -> what the report calls it, in the report's order.
            failed: entries of those that could not be explained, likewise.
        """
        for folder, name in names.items():
            if folder in failed:
                yield failed[folder]
            else:
                yield {**self.store.images.read(folder)["entry"], "name": name}


def _told_apart(path: Path) -> str:
    """What tells an image's file from others of the same name."""
    try:
        return f"{path.name} ({path.stat().st_size} bytes)"
    except OSError:
        return f"{path.name} (missing)"


def settings_of(
    args: argparse.Namespace, config: DetectorConfig, options: Mapping[str, Any], class_names: Sequence[str]
) -> dict[str, Any]:
    """Everything that an image's files depend on, but the image: runs with others can't be mixed."""
    return {
        "config": config.text(),
        "weights": weights_checksum(config.weights),
        "annotations": file_checksum(args.annotations) if args.annotations else None,
        "imports": [file_checksum(name) if os.path.isfile(name) else name for name in args.imports],
        "config_hooks": args.config_hooks,
        "options": {name: str(value) for name, value in sorted(options.items())},
        "class_names": list(class_names),
        **{name: getattr(args, name) for name in ("explain", "score_threshold", "max_detections", "strips")},
        "version": __version__,
    }


def names_in_report(folders: Mapping[str, Path]) -> dict[str, str]:
    """What the report calls the image of each folder: its path from the folder that all of them share."""
    # Links are called as they are themselves.
    root = os.path.commonpath([path.absolute().parent for path in folders.values()])
    return {folder: printable(os.path.relpath(path.absolute(), root)) for folder, path in folders.items()}
