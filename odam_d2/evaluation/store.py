"""Results of finished pictures on disk, so that a run that was interrupted can go on."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..utils.files import write_json, write_text


class CheckedFiles:
    """A folder of JSON files that begin with the checksum of what follows: one that was cut short is as good as none.

    Args:
        folder: made when something is written.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)

    def write(self, name: int | str, content: Any) -> None:
        """Keeps `content` under a name, whole or not at all."""
        body = json.dumps(content)
        write_text(self._path(name), f"{_checksum(body)}\n{body}\n")

    def read(self, name: int | str) -> Any:
        """What was written under the name, to the last bit; None if it isn't there, or not all of it."""
        try:
            checksum, _, body = self._path(name).read_text(encoding="utf-8").partition("\n")
        except (OSError, UnicodeDecodeError):
            return None
        return json.loads(body) if checksum == _checksum(body.removesuffix("\n")) else None

    def clear(self, pattern: str = "*.json") -> None:
        """Removes all that was written; or, with ``".*.tmp"``, what a writer left that was killed."""
        for old in self.folder.glob(pattern):
            old.unlink()

    def _path(self, name: int | str) -> Path:
        # Names can be any text, and two of them may differ in what a file's name can't hold.
        text = str(name)
        plain = re.sub(r"[^\w-]", "_", text)[:80]
        return self.folder / f"{plain if plain == text else f'{plain}-{_checksum(text)[:8]}'}.json"


class ResultStore:
    """The folder of a run: the result of each finished picture, and the settings that all of them were made with.

    Args:
        folder: where the run keeps its files.

    Attributes:
        pictures: result of each finished picture, by its id.
        examples: crops of objects that were among the best or worst when they were seen.
    """

    def __init__(self, folder: str | os.PathLike):
        self.settings = Path(folder) / "settings.json"
        self.pictures = CheckedFiles(Path(folder) / "pictures")
        self.examples = CheckedFiles(Path(folder) / "examples")

    def start(self, settings: Mapping[str, Any], resume: bool) -> None:
        """Makes the folder ready: for going on, or else empty of old results.

        Args:
            settings: whatever results depend on, as JSON can hold it.
            resume: go on with the results that are there.

        Raises:
            ValueError: if those results were made with other settings.
        """
        settings = json.loads(json.dumps(settings))
        for files in (self.pictures, self.examples):
            files.clear(".*.tmp")
        if resume and self.settings.is_file():
            try:
                before = json.loads(self.settings.read_text(encoding="utf-8"))
            except ValueError:
                before = {}
            different = sorted(key for key in {*before, *settings} if before.get(key) != settings.get(key))
            if different:
                raise ValueError(
                    f"`output` must hold results of the same settings to resume; {str(self.settings.parent)!r} differs "
                    f"in {different}: choose another folder, or leave --resume out to start anew"
                )
            return
        self.pictures.clear()
        self.examples.clear()
        write_json(self.settings, settings)


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
