"""The folder of a run as a command finds it: empty, or with images that a run of the same settings has finished."""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..utils.files import OutputError, checksum, remove_unfinished, write_json
from .parts import (
    FILES,
    FOLDER,
    INDEX,
    SETTINGS,
    DamagedPartError,
    disk_errors,
    open_to_read,
    part_paths,
    require_whole,
)


class RunFolder:
    """Where a run keeps what it has finished.

    Args:
        folder: ``--output`` of the command.

    Attributes:
        set_aside: after :meth:`start`, a sentence for each part that could not be read.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self.settings = self.folder / FOLDER / SETTINGS
        self.set_aside: list[str] = []

    def start(
        self,
        settings: Mapping[str, Any],
        resume: bool,
        files: Mapping[str, str] | None = None,
        results: Iterable[str] = (),
    ) -> None:
        """Makes the folder ready: for going on, or else empty of old results. One process does it, before all write.

        A part that can't be read is renamed, to end with ``.damaged``, and its images count as not finished.

        Args:
            settings: whatever results depend on, as JSON can hold it.
            resume: go on with the results that are there.
            files: image's key -> what tells its file from others, in the order of the run; what is stored of other
                images isn't shown. It is compared for finished images alone: the file of one that was missing or
                broken may be put right.
            results: names, or patterns, of what the run writes beside in the end; old ones go where it starts anew.

        Raises:
            ValueError: if those results were made with other settings, or of other files.
            OutputError: if the folder takes no files.
        """
        settings = json.loads(json.dumps({**settings, FILES: dict(files or {})}))
        remove_unfinished(self.folder)
        remove_unfinished(self.settings.parent)
        if resume and self.settings.is_file():
            try:
                before = json.loads(self.settings.read_text(encoding="utf-8"))
            except ValueError:
                before = {}
            self._require_same(before, settings)
            self._set_damaged_aside()
            self._require_same_files(before.get(FILES, {}), settings[FILES])
        else:
            try:
                self._clear(results)
            except OSError as error:
                raise OutputError(self.settings, error) from error
        write_json(self.settings, settings)

    def finished(self) -> dict[str, dict[str, Any]]:
        """Facts on each finished image, by its key; images that failed are left out."""
        found: dict[str, dict[str, Any]] = {}
        for path in part_paths(self.folder):
            with contextlib.closing(open_to_read(path)) as part, disk_errors(path):
                for key, facts in part.execute("SELECT key, facts FROM images WHERE failure IS NULL"):
                    found.setdefault(key, json.loads(facts)["facts"])
        return found

    def documents(self, collection: str) -> dict[str, Any]:
        """Name and content of the documents of a collection, see :meth:`~odam_d2.store.writer.RunWriter.put`."""
        found: dict[str, Any] = {}
        for path in part_paths(self.folder):
            with contextlib.closing(open_to_read(path)) as part, disk_errors(path):
                rows = part.execute("SELECT name, body FROM documents WHERE collection = ?", (collection,))
                for name, body in rows:
                    found.setdefault(name, json.loads(body))
        return found

    def fingerprint(self) -> str:
        """What tells this run's settings from others, 12 hexadecimal digits."""
        return fingerprint(json.loads(self.settings.read_text(encoding="utf-8")))

    def _clear(self, results: Iterable[str]) -> None:
        # Settings go first: a run that ends here is none to go on with.
        self.settings.unlink(missing_ok=True)
        for pattern in ("part-*.sqlite*", INDEX):
            for old in self.settings.parent.glob(pattern):
                old.unlink()
        for old in (file for pattern in results for file in self.folder.glob(pattern)):
            old.unlink()

    def _set_damaged_aside(self) -> None:
        self.set_aside = []
        for path in part_paths(self.folder):
            try:
                require_whole(path)
            except DamagedPartError as error:
                number = 1
                while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
                    number += 1
                path.rename(aside)
                path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
                self.set_aside.append(f"{error}; it is now called {aside.name!r}")

    def _require_same(self, before: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        different = sorted(key for key in {*before, *settings} - {FILES} if before.get(key) != settings.get(key))
        if different:
            told = "; ".join(_compare(key, before.get(key), settings.get(key)) for key in different[:3])
            raise ValueError(
                f"`output` must hold results of the same settings to resume, with fingerprint {fingerprint(settings)}; "
                f"{str(self.folder)!r} has {fingerprint(before)} and differs in {different} ({told}): choose another "
                "folder, or leave --resume out to start anew"
            )

    def _require_same_files(self, before: Mapping[str, str], now: Mapping[str, str]) -> None:
        others = [key for key, one in now.items() if before.get(key) != one]
        others = [key for key in others if key in self.finished()] if others else []
        if others:
            first = others[0]
            raise ValueError(
                f"`output` must hold results of the same images to resume; it differs in {len(others)} of them, the "
                f"first is {now[first]!r} in place of {before.get(first)!r}: give the images that it began with, or "
                "leave --resume out to start anew"
            )


def fingerprint(settings: Mapping[str, Any]) -> str:
    """What tells settings from others, but for the images' files: 12 hexadecimal digits."""
    kept = {key: value for key, value in settings.items() if key != FILES}
    return checksum(json.dumps(kept, sort_keys=True))[:12]


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
