"""Results of finished images on disk, so that a run that was interrupted can go on."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...utils.files import checksum, remove_unfinished, safe_name, write_json, write_text

_FILES = "files"  # in the settings: of each image


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
        write_text(self._path(name), f"{checksum(body)}\n{body}\n")

    def read(self, name: int | str) -> Any:
        """What was written under the name, to the last bit; None if it isn't there, or not all of it."""
        return _read_whole(self._path(name))

    def unreadable(self) -> list[str]:
        """Names of files that are there but not whole, as they stand in the folder."""
        return [file.stem for file in sorted(self.folder.glob("*.json")) if _read_whole(file) is None]

    def clear(self) -> None:
        """Removes all that was written."""
        for old in self.folder.glob("*.json"):
            old.unlink()

    def _path(self, name: int | str) -> Path:
        # Names can be any text, and two of them may differ in what a file's name can't hold, or in case alone.
        text = str(name)
        plain = safe_name(text).casefold()
        return self.folder / f"{plain if plain == text else f'{plain}-{checksum(text)[:8]}'}.json"


class ResultStore:
    """The folder of a run: the result of each finished image, and the settings that all of them were made with.

    Args:
        folder: where the run keeps its files.

    Attributes:
        images: result of each finished image, by its id.
        examples: crops of objects that were among the best or worst when they were seen.
    """

    def __init__(self, folder: str | os.PathLike):
        self.settings = Path(folder) / "settings.json"
        self.images = CheckedFiles(Path(folder) / "images")
        self.examples = CheckedFiles(Path(folder) / "examples")

    def start(
        self,
        settings: Mapping[str, Any],
        resume: bool,
        files: Mapping[Any, str] | None = None,
        results: Iterable[str] = (),
    ) -> None:
        """Makes the folder ready: for going on, or else empty of old results.

        Args:
            settings: whatever results depend on, as JSON can hold it.
            resume: go on with the results that are there.
            files: image's id -> what tells its file from others. It counts for finished images alone: the file of
                one that was missing or broken may be put right.
            results: names, or patterns, of what the run writes beside in the end; old ones go where it starts anew.

        Raises:
            ValueError: if those results were made with other settings, or of other files.
        """
        settings = json.loads(json.dumps({**settings, _FILES: {str(key): one for key, one in (files or {}).items()}}))
        for folder in (self.settings.parent, self.images.folder, self.examples.folder):
            remove_unfinished(folder)
        if resume and self.settings.is_file():
            try:
                before = json.loads(self.settings.read_text(encoding="utf-8"))
            except ValueError:
                before = {}
            keys = {*before, *settings} - {_FILES}
            different = sorted(key for key in keys if before.get(key) != settings.get(key))
            if different:
                told = "; ".join(_compare(key, before.get(key), settings.get(key)) for key in different[:3])
                raise ValueError(
                    f"`output` must hold results of the same settings to resume; {str(self.settings.parent)!r} differs "
                    f"in {different} ({told}): choose another folder, or leave --resume out to start anew"
                )
            self._check_files(before.get(_FILES, {}), settings[_FILES])
            write_json(self.settings, settings)
            return
        self.images.clear()
        self.examples.clear()
        for old in (file for pattern in results for file in self.settings.parent.glob(pattern)):
            old.unlink()
        write_json(self.settings, settings)

    def _check_files(self, before: Mapping[str, str], now: Mapping[str, str]) -> None:
        others = [key for key, one in now.items() if before.get(key) != one and self.images.read(key) is not None]
        if others:
            first = others[0]
            raise ValueError(
                f"`output` must hold results of the same images to resume; it differs in {len(others)} of "
                f"them, the first is {now[first]!r} in place of {before.get(first)!r}: give the images that it began "
                "with, or leave --resume out to start anew"
            )


def _compare(key: str, before: Any, now: Any) -> str:
    """Both values of a setting, shortened: of texts with lines, the first that differ; of long ones, the checksums."""
    if isinstance(before, str) and isinstance(now, str) and "\n" in before + now:
        both = before.splitlines(), now.splitlines()
        before, now = ([line.strip() for line in one if line not in other] for one, other in (both, both[::-1]))
        before, now = ("; ".join(one[:2]) or "nothing" for one in (before, now))
    texts = [one if isinstance(one, str) else json.dumps(one) for one in (before, now)]
    there, here = (text if len(text) <= 64 else checksum(text)[:12] for text in texts)
    # Checksums are long already, and their beginnings tell them apart.
    there, here = (text[:12] if len(text) == 64 and " " not in text else text for text in (there, here))
    return f"{key}: {there} there, {here} here"


def _read_whole(file: Path) -> Any:
    try:
        told, _, body = file.read_text(encoding="utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return json.loads(body) if told == checksum(body.removesuffix("\n")) else None
