"""What ``odam explain`` has finished, on disk, so that an interrupted run can go on."""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.utils import comm
from torch import nn

from .. import __version__
from ..loading import DetectorConfig
from ..store import ImageRow, RunFolder
from ..utils.files import file_checksum, remove_unfinished
from ..utils.words import printable
from .report_files import DRAWN


class FinishedImages:
    """The images of a run whose files are written.

    Args:
        output: folder of the run.

    Attributes:
        folders: after :meth:`know`, name of each image's folder -> the image.
    """

    def __init__(self, output: str | os.PathLike):
        self.output = Path(output)
        self.folders: Mapping[str, Path] = {}
        self._names: dict[str, str] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        self._numbers: dict[str, int] = {}

    def start(self, settings: Mapping[str, Any], resume: bool, folders: Mapping[str, Path]) -> list[str]:
        """Makes the folder ready: for going on, or else without old rows. One process does it, before all others.

        Args:
            settings: whatever an image's files depend on, as JSON can hold it.
            resume: go on with the images that are finished.
            folders: name of each image's folder -> the image.

        Returns:
            A sentence for each file of rows that can't be read, whose images are explained again.

        Raises:
            ValueError: if those were made with other settings, or of other files.
        """
        for folder in (self.output / name for name in folders):
            remove_unfinished(folder)
        run = RunFolder(self.output)
        run.start(settings, resume, {name: _told_apart(path) for name, path in folders.items()}, DRAWN)
        return run.set_aside

    def know(self, folders: Mapping[str, Path]) -> None:
        """Reads what is finished; the same in all processes, which call this together.

        Args:
            folders: see :meth:`start`; those of the main process count.
        """
        # Read by one of them, before any writes.
        facts = RunFolder(self.output).finished() if comm.is_main_process() else {}
        self.folders, self._facts = comm.all_gather((folders, facts))[0]
        self._names = names_in_report(self.folders)
        self._numbers = {name: number for number, name in enumerate(self.folders)}

    def row(self, folder: str, **values: Any) -> ImageRow:
        """The row of an image; `values` are further attributes of :class:`ImageRow`."""
        return ImageRow(
            self._numbers[folder], folder, self._names[folder], str(self.folders[folder].absolute()), **values
        )

    def find(self, folder: str) -> dict[str, Any] | None:
        """Facts on an image that is finished; None if it isn't, or its files are gone."""
        kept = self._facts.get(folder)
        if kept is None or not all((self.output / folder / name).is_file() for name in kept["written"]):
            return None
        return kept


def _told_apart(path: Path) -> str:
    """What tells an image's file from others of the same name."""
    try:
        return f"{path.name} ({path.stat().st_size} bytes)"
    except OSError:
        return f"{path.name} (missing)"


def settings_of(
    args: argparse.Namespace,
    config: DetectorConfig,
    model: nn.Module,
    options: Mapping[str, Any],
    class_names: Sequence[str],
) -> dict[str, Any]:
    """Everything that an image's files depend on, but the image: runs with others can't be mixed."""
    return {
        "config": config.text(),
        "weights": config.weights_fingerprint(model),
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
