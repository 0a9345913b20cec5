"""What became of the entries of an annotation file: read as they are, repaired, left out; and what wasn't used."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .values import UnusableError

IMAGES, ANNOTATIONS, MASKS = "image", "annotation", "mask"
KINDS = (IMAGES, ANNOTATIONS, MASKS)
_EXAMPLES = 5  # of one repair
_MOST_ON_A_PAGE = 1000  # entries that were left out
_MOST_LINES = 4  # of what was left out, or repaired, on a terminal


@dataclass(frozen=True)
class LeftOut:
    """An entry that was left out.

    Attributes:
        kind: one of :data:`KINDS`.
        name: its id; its place in the file where it has none.
        image: the file name or the id of its image, where it is known.
        reason: why, the same words for all of the kind.
        detail: the value that was wrong.
    """

    kind: str
    name: Any
    image: Any
    reason: str
    detail: str = ""

    def __str__(self) -> str:
        place = "" if self.image is None or self.kind == IMAGES else f" of image {self.image!r}"
        return f"{entry_name(self.kind, self.name)}{place}" + (f": {self.detail}" if self.detail else "")


@dataclass
class Account:
    """The account of one file or data set.

    Of each kind, ``all`` entries of the file are those read as they are, the repaired and those left out. A mask that
    is left out doesn't take its annotation's box with it.

    Attributes:
        file: the file, or the name of the data set.
        left_out: every entry that was left out.
        notes: further sentences, e.g. about attributes that nothing uses.
    """

    file: str
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _all: Counter = field(default_factory=Counter)
    _repaired: dict[str, set] = field(default_factory=lambda: {kind: set() for kind in KINDS})
    _repairs: dict[tuple[str, str], list] = field(default_factory=dict)
    _unused: list[tuple[Any, int]] = field(default_factory=list)
    _unnamed: list[str] = field(default_factory=list)
    _unexplained: list[tuple[str, list[float]]] = field(default_factory=list)
    _strangers: dict[str, int] = field(default_factory=dict)

    def take_over(self, other: "Account") -> None:
        """Becomes the account of a data set that was judged when it was read."""
        name = self.file
        self.__dict__.update(other.__dict__)
        self.file = name if name == other.file else f"{name} ({other.file})"

    def add(self, kind: str, key: Any, name: Any, repairs: Iterable[str] = ()) -> None:
        """Counts an entry that is used.

        Args:
            kind: one of :data:`KINDS`.
            key: what no other entry of the kind has; its place in the file.
            name: its id.
            repairs: what was done to it.
        """
        self._all[kind] += 1
        for repair in repairs:
            self.repair(kind, key, name, repair)

    def repair(self, kind: str, key: Any, name: Any, repair: str) -> None:
        """Says of an entry that is counted already that it was repaired."""
        self._repaired[kind].add(key)
        self._repairs.setdefault((kind, repair), []).append(name)

    def leave_out(self, kind: str, name: Any, image: Any, error: UnusableError) -> None:
        """Counts an entry that is not used, and why."""
        self._all[kind] += 1
        self.left_out.append(LeftOut(kind, name, image, error.reason, error.detail))

    def take_back(self, kind: str, key: Any, name: Any, image: Any, error: UnusableError) -> None:
        """Says of an entry that was counted as used that it is left out after all."""
        self._repaired[kind].discard(key)
        self.left_out.append(LeftOut(kind, name, image, error.reason, error.detail))

    def unused(self, image: Any, annotations: int) -> None:
        """Says that no image of the run is the one that these annotations are of."""
        self._unused.append((image, annotations))

    def unnamed(self, images: Collection[str]) -> None:
        """Says which images of the run the file doesn't name."""
        self._unnamed += images

    def unexplained(self, image: str, box: list[float]) -> None:
        """Says that no prediction of the detector stands for an annotated box, XYXY in the image's pixels."""
        self._unexplained.append((image, box))

    def strangers(self, counts: dict[str, int]) -> None:
        """Says how many annotations are of each category that the detector has no class for."""
        self._strangers = dict(counts)

    def count(self, kind: str) -> dict[str, int]:
        """How many entries of a kind there are: ``all``, the sum of ``as_they_are``, ``repaired``, ``left_out``."""
        left_out = sum(one.kind == kind for one in self.left_out)
        total, repaired = self._all[kind], len(self._repaired[kind])
        counts = {"all": total, "as_they_are": total - repaired - left_out, "repaired": repaired, "left_out": left_out}
        return counts

    @property
    def lost(self) -> list[str]:
        """What was left out or not used, a sentence a kind; empty where nothing was."""
        return [*self._left_out_lines(), *self._unused_lines()]

    def lines(self) -> list[str]:
        """The account in a few lines."""
        counts = {kind: self.count(kind) for kind in KINDS}
        words = [_counted(kind, count) for kind, count in counts.items() if count["all"] or kind != MASKS]
        # What no image used, and images without an entry, are few lines, and none of them may be among "more kinds".
        details = [*_cut(self._left_out_lines()), *self._unused_lines(), *_cut(self._repaired_lines()), *self.notes]
        return [f"Annotations {self.file}: {', '.join(words)}.", *(f"  {line}" for line in details)]

    def as_page(self) -> dict[str, Any]:
        """The whole account for people: what is counted, and sentences by heading; empty headings are left out."""
        lists = {
            "left out": [f"{one}: {one.reason}" for one in self.left_out],
            "repaired": self._repaired_lines(),
            "not used": self._unused_lines(),
            "notes": self.notes,
        }
        counts = {f"{kind}s": _shares(self.count(kind)) for kind in KINDS}
        cut = {
            name: [*lines[:_MOST_ON_A_PAGE], f"and {len(lines) - _MOST_ON_A_PAGE} more, in the json files of the run"]
            if len(lines) > _MOST_ON_A_PAGE
            else lines
            for name, lines in lists.items()
        }
        return {"file": self.file, **counts, **{name: lines for name, lines in cut.items() if lines}}

    def as_json(self) -> dict[str, Any]:
        """The whole account, as JSON can hold it."""
        return {
            "file": self.file,
            **{f"{kind}s": self.count(kind) for kind in KINDS},
            "left_out": [
                {"kind": one.kind, "id": one.name, "image": one.image, "reason": one.reason, "detail": one.detail}
                for one in self.left_out
            ],
            "repaired": [
                {"kind": kind, "repair": repair, "count": len(names), "examples": names[:_EXAMPLES]}
                for (kind, repair), names in self._repairs.items()
            ],
            "unused": [{"image": image, "annotations": annotations} for image, annotations in self._unused],
            "images_without_entry": list(self._unnamed),
            "unexplained": [{"image": image, "box": box} for image, box in self._unexplained],
            "categories_without_class": dict(self._strangers),
            "notes": list(self.notes),
        }

    def require_nothing_lost(self) -> None:
        """Raises ValueError where something was left out or not used: what ``--strict`` means."""
        if lost := self.lost:
            raise ValueError(
                f"`--strict` must find every annotation and every image used; got, of {self.file!r}: "
                f"{'; '.join(lost)}: mend the annotations, or leave --strict away"
            )

    def _left_out_lines(self) -> list[str]:
        groups: dict[tuple[str, str], list[LeftOut]] = {}
        for one in self.left_out:
            groups.setdefault((one.kind, one.reason), []).append(one)
        return [
            f"left out: {_number(len(found), kind)}, {reason}, e.g. {found[0]}"
            for (kind, reason), found in sorted(groups.items(), key=lambda item: -len(item[1]))
        ]

    def _repaired_lines(self) -> list[str]:
        return [
            f"repaired: {_number(len(names), kind)}, {repair}, e.g. {entry_name(kind, names[0])}"
            for (kind, repair), names in sorted(self._repairs.items(), key=lambda item: -len(item[1]))
        ]

    def _unused_lines(self) -> list[str]:
        found, annotated = [], [one for one in self._unused if one[1]]
        if annotated:
            total = sum(annotations for _, annotations in annotated)
            found.append(
                f"not used: {_number(total, ANNOTATIONS)} of {_number(len(annotated), IMAGES)} that no image of this "
                f"run is, e.g. {annotated[0][0]!r}"
            )
        if self._unnamed:
            found.append(
                f"without an entry: {_number(len(self._unnamed), IMAGES)} of this run that the annotations don't name, "
                f"e.g. {self._unnamed[0]!r}"
            )
        if self._unexplained:
            image, box = self._unexplained[0]
            found.append(
                f"not explained: {_number(len(self._unexplained), ANNOTATIONS)} whose box no prediction of the "
                f"detector stands for, e.g. {box} in image {image!r}"
            )
        if self._strangers:
            total = sum(self._strangers.values())
            found.append(
                f"without a class: {_number(total, ANNOTATIONS)} of categories that the detector doesn't have, e.g. "
                f"{next(iter(self._strangers))!r}"
            )
        return found


def entry_name(kind: str, name: Any) -> str:
    """What an entry is called in sentences."""
    return f"{'mask of annotation' if kind == MASKS else kind} {name!r}"


def _number(count: int, kind: str) -> str:
    return f"{count} {kind}" + ("" if count == 1 else "s")


def _counted(kind: str, count: dict[str, int]) -> str:
    parts = [f"{count[key]} {key.replace('_', ' ')}" for key in ("repaired", "left_out") if count[key]]
    return _number(count["all"], kind) + (f" ({', '.join(parts)})" if parts else "")


def _shares(count: dict[str, int]) -> str:
    parts = [f"{count[key]} {key.replace('_', ' ')}" for key in ("as_they_are", "repaired", "left_out")]
    return f"{count['all']}: {', '.join(parts)}"


def _cut(lines: Sequence[str]) -> list[str]:
    if len(lines) <= _MOST_LINES:
        return list(lines)
    more = len(lines) - _MOST_LINES
    return [*lines[:_MOST_LINES], f"{lines[0].partition(':')[0]}: and {more} more kinds, see the files of the run"]
