"""Exporters: what they promise, and where they are registered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from inspect import Parameter, signature
from pathlib import Path
from typing import ClassVar, TypeVar

from ..store import RunReader
from ..store.filters import Filter
from ..store.records import KINDS
from ..utils.registry import NamedRegistry
from .chosen import ChosenImage, chosen_images
from .figures import columns_of

AnyExporter = TypeVar("AnyExporter", bound="Exporter")
Watch = Callable[[Iterable[ChosenImage]], Iterable[ChosenImage]]

EXPORTERS: NamedRegistry[type[Exporter]] = NamedRegistry("EXPORTERS")


def register_exporter(name: str) -> Callable[[type[AnyExporter]], type[AnyExporter]]:
    """Class decorator: makes an :class:`Exporter` reachable as ``odam export --to name``.

    Raises:
        AssertionError: if the name is taken.
    """
    return EXPORTERS.register_as(name)


def options_of(cls: type[Exporter]) -> list[str]:
    """The options of an exporter: the keyword-only arguments of its constructor."""
    return [one.name for one in signature(cls).parameters.values() if one.kind is Parameter.KEYWORD_ONLY]


@dataclass
class Written:
    """What an exporter wrote.

    Attributes:
        images: how many images.
        boxes: how many boxes.
        without_maps: how many of the boxes have no map, where maps are written.
        notes: a sentence for each thing that people should know.
    """

    images: int = 0
    boxes: int = 0
    without_maps: int = 0
    notes: list[str] = field(default_factory=list)


class Exporter(ABC):
    """Writes what a run says in the form of another tool; it never holds more than some images at a time.

    Options are keyword-only arguments of the constructor of a subclass.

    Args:
        reader: the run.
        chosen: which explained boxes. Where no kind is asked for, those of :attr:`usual` are taken.

    Attributes:
        usual: kinds of boxes that the tool has a use for.
        possible: kinds of boxes that it takes.
        marker: where a folder is written, a file that tells it; empty where a file is.

    Raises:
        ValueError: if a kind of boxes is asked for that the tool doesn't take.
    """

    usual: ClassVar[tuple[str, ...]] = KINDS
    possible: ClassVar[tuple[str, ...]] = KINDS
    marker: ClassVar[str] = ""

    def __init__(self, reader: RunReader, chosen: Filter = Filter()):  # noqa: B008  it is frozen
        strangers = [kind for kind in chosen.kind or () if kind not in self.possible]
        if strangers:
            raise ValueError(
                f"`kind` must be among {list(self.possible)} for this tool; got {strangers}: leave the others out"
            )
        self.reader = reader
        self._failed = 0
        self.filtered = chosen != Filter()
        self._asked = chosen
        self.chosen = replace(chosen, kind=self.usual) if chosen.kind is None else chosen

    def write(self, path: Path, watch: Watch = iter) -> Written:
        """Writes the run to a file or folder, whole or not at all.

        Args:
            path: where to; what is there is replaced.
            watch: is given the images as they come, and gives them back; for a progress bar.

        Raises:
            OutputError: if it can't be written.
            ValueError: if the run lacks what was asked for.
        """
        self._failed = 0
        written = self.export(path, watch)
        if written.without_maps:
            written.notes.append(f"Boxes without a map: {written.without_maps}.")
        written.notes += self._left_out()
        return written

    @abstractmethod
    def export(self, path: Path, watch: Watch) -> Written:
        """What :meth:`write` does, but for the notes on what was left out."""

    def images(self, watch: Watch) -> Iterable[ChosenImage]:
        """The images that could be read, with their chosen boxes; with a filter, those alone that have some."""
        for one in watch(chosen_images(self.reader, self.chosen)):
            if one.image.failure is not None or one.image.size is None:
                self._failed += 1
            elif one.boxes or not self.filtered:
                yield one

    def figures(self) -> dict[str, str]:
        """The columns of figures, see :func:`~odam_d2.export.figures.columns_of`; it reads all chosen boxes."""
        return columns_of(chosen_images(self.reader, self.chosen))

    def _left_out(self) -> list[str]:
        notes = []
        if self._asked.kind is None:
            every = self.reader.counts("kind", self._asked)
            others = {kind: count for kind, count in every.items() if kind not in self.usual}
            if others:
                told = ", ".join(f"{count} of kind {kind!r}" for kind, count in others.items())
                notes.append(f"Boxes of other kinds are left out: {told}.")
        if self._failed:
            notes.append(f"Images that could not be read or explained are left out: {self._failed}.")
        return notes
