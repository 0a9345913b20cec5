"""Reads CrowdHuman, and other data in its `.odgt` format, as Detectron2 dicts.

One line of JSON for each image, ``{"ID": ..., "gtboxes": [...]}``; the image is ``<ID>.jpg``. Each of ``gtboxes`` has a
``tag``, the boxes ``fbox`` (the whole body, also where it is hidden or beyond the image), ``vbox`` (what is seen of
it) and ``hbox`` (the head), each as (x, y, width, height) in pixels, ``head_attr`` and ``extra``. Source: Shao et al.,
"CrowdHuman: A Benchmark for Detecting Human in a Crowd", 2018 (arXiv 1805.00123).
"""

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from .account import ANNOTATIONS, IMAGES, Account, LeftOut
from .image_sizes import image_sizes
from .odgt_boxes import KNOWN_TAGS, read_box
from .odgt_lines import odgt_lines, parse_line
from .records import JudgedRecords
from .registration import log_account
from .values import UnusableError, shown, side

BOXES = ("full", "visible")


@dataclass
class OdgtContent:
    """What an `.odgt` file holds.

    Attributes:
        account: what became of its lines ("image") and boxes ("annotation"); the boxes of a line that was left out as a
            whole are counted only where they could be read.
        records: Detectron2 dicts, see :func:`load_crowdhuman`, in the order of the file.
        lines: number of the line that each record comes from, from 1.
    """

    account: Account
    records: list[dict] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    @property
    def bad(self) -> list[str]:
        """What is wrong with each line that was left out as a whole, one sentence with file and line each."""
        return [_sentence(self.account.file, one) for one in self.account.left_out if one.kind == IMAGES]


def load_crowdhuman(
    odgt: str | os.PathLike, image_root: str | os.PathLike, box: str = "full", skip_bad: bool = True
) -> list[dict]:
    """Detectron2 dicts of a data set in CrowdHuman's format.

    What can be understood is repaired: text that is a number, ``ignore`` as "0" or false, ``null`` in place of
    ``hbox``, ``head_attr`` or ``extra``, a byte order mark. What can't is left out: single boxes, and lines as a whole.
    The log has the account of both.

    Args:
        odgt: the annotations. Sizes of images, which CrowdHuman's files lack, are taken from ``width`` and
            ``height`` of a line where it has them, else from the image; those are cached in
            ``<odgt without its suffix>.sizes.json``.
        image_root: folder of the images, ``<ID>.jpg``.
        box: what ``bbox`` is: "full", the whole body, or "visible".
        skip_bad: leave out lines that can't be used as a whole; False for an error at the first one.

    Returns:
        A dict an image with ``file_name``, ``image_id`` (the ID, text), ``height``, ``width`` and ``annotations``:

        - ``bbox``, ``bbox_mode`` (XYXY_ABS), ``category_id`` (0);
        - ``iscrowd``: 1 for an ignore region, which is what has ``ignore`` in ``extra``, or another tag than "person",
          as in CrowdHuman's toolkit; other tags than "mask" are named in the log;
        - ``full_box``, ``visible_box`` and ``head_box`` (None where the line has none), XYXY pixels in the image's
          frame, also beyond the image; ``head_ignore``, 1 where the head can't be recognised;
        - ``box_id``: of ``extra``, else the number in the line.

        Boxes without a size, NaN and whatever else can't be a box are left out where the full box or ``bbox`` is one. A
        visible box that can't be used is replaced by the full box where that is to be found.

    Raises:
        ValueError: if the file can't be read; or, without `skip_bad`, for the first line that can't be used or whose
            image can't be read; it names file and line.
    """
    content = read_odgt(odgt, image_root, box, skip_bad)
    log_account(content.account)
    return JudgedRecords(content.records, content.account, beyond=True)


def read_odgt(
    odgt: str | os.PathLike, image_root: str | os.PathLike, box: str = "full", skip_bad: bool = True
) -> OdgtContent:
    """Reads a file for :func:`load_crowdhuman`, whose arguments and errors it has, and says what was left out."""
    if box not in BOXES:
        raise ValueError(f"`box` must be one of {BOXES}; got {box!r}: choose one")
    content = OdgtContent(Account(os.fspath(odgt)))
    found: dict[str, _Line] = {}
    for number, text in odgt_lines(odgt):
        try:
            line = _read_line(number, parse_line(text), os.fspath(image_root))
            if line.ident in found:
                raise UnusableError("repeats the `ID` of another line", f"{line.ident!r} of {found[line.ident].name}")
        except UnusableError as error:
            _refuse(content, f"line {number}", None, error, skip_bad)
            continue
        found[line.ident] = line
    unknown = {ident: line.record["file_name"] for ident, line in found.items() if "height" not in line.record}
    kept_in = f"{os.path.splitext(content.account.file)[0]}.sizes.json"
    sizes, failures = image_sizes(unknown, kept_in) if unknown else ({}, {})
    tags = Counter[str]()
    for ident, line in found.items():
        if ident in failures:
            _refuse(content, line.name, ident, UnusableError("has no readable image", failures[ident]), skip_bad)
            continue
        if ident in sizes:
            line.record["height"], line.record["width"] = sizes[ident]
        content.account.add(IMAGES, line.number, line.name, line.repairs)
        content.records.append({**line.record, "annotations": _annotations(line, box, content.account, tags)})
        content.lines.append(line.number)
    if tags:
        listed = ", ".join(f"{tag} ({count})" for tag, count in tags.most_common())
        content.account.notes.append(f"Taken as ignore regions, as in CrowdHuman's toolkit, for their tag: {listed}.")
    return content


def register_crowdhuman(
    name: str, odgt: str | os.PathLike, image_root: str | os.PathLike, box: str = "full", skip_bad: bool = True
) -> None:
    """Registers a data set in CrowdHuman's format in Detectron2's catalogs; it is read on first use.

    Args:
        name: name in the catalogs.
        odgt, image_root, box, skip_bad: as for :func:`load_crowdhuman`; detections are scored against the boxes that
            `box` names.
    """
    DatasetCatalog.register(name, lambda: load_crowdhuman(odgt, image_root, box, skip_bad))
    set_crowdhuman_metadata(name, odgt, image_root, box)


def set_crowdhuman_metadata(
    name: str, odgt: str | os.PathLike, image_root: str | os.PathLike, box: str = "full"
) -> None:
    """Sets the metadata of a registered data set: people are its only class, and it is scored as CrowdHuman is."""
    MetadataCatalog.get(name).set(
        thing_classes=["person"],
        odgt_file=os.fspath(odgt),
        image_root=os.fspath(image_root),
        box=box,
        evaluator_type="crowdhuman",
    )


def _sentence(odgt: str, left_out: LeftOut) -> str:
    detail = f" ({left_out.detail})" if left_out.detail else ""
    return f"{left_out.name} of {odgt!r} {left_out.reason}{detail}"


def _refuse(content: OdgtContent, name: str, image: str | None, error: UnusableError, skip_bad: bool) -> None:
    content.account.leave_out(IMAGES, name, image, error)
    if not skip_bad:
        raise ValueError(
            f"`odgt` must hold a JSON object with `ID` and `gtboxes` in every line, and its image must be there; "
            f"{content.bad[-1]}: mend it, or write a file without bad lines with odam check-crowdhuman --skip-bad "
            "--write"
        ) from error


@dataclass
class _Line:
    """A line that could be read: its record, possibly still without a size, and its boxes as they are."""

    number: int
    record: dict
    boxes: list
    repairs: list[str]

    @property
    def ident(self) -> str:
        return self.record["image_id"]

    @property
    def name(self) -> str:
        return f"line {self.number}"


def _read_line(number: int, line: dict, image_root: str) -> _Line:
    """Raises UnusableError: what is wrong with the line, as it follows "line 3 of file"."""
    ident, boxes, repairs = line.get("ID"), line.get("gtboxes"), []
    if isinstance(ident, int) and not isinstance(ident, bool):
        ident = shown(ident)
        repairs.append("`ID` as a number")
    if not isinstance(ident, str) or not ident:
        raise UnusableError("has no text `ID`", f"got {shown(ident)}")
    if not _can_be_a_name(ident):
        raise UnusableError("has an `ID` with a character that no file name can have", shown(ident))
    if not isinstance(boxes, list):
        raise UnusableError("has no list `gtboxes`", f"got {type(boxes).__name__}")
    record: dict[str, Any] = {"file_name": os.path.join(image_root, f"{ident}.jpg"), "image_id": ident}
    try:
        sides = {key: side(line[key]) for key in ("height", "width")}
    except (KeyError, UnusableError):
        if "height" in line or "width" in line:
            repairs.append("sizes that can't be used, taken from the image")
    else:
        record |= {key: value for key, (value, _) in sides.items()}
        if any(repaired for _, repaired in sides.values()):
            repairs.append("sizes as text or with a decimal point")
    return _Line(number, record, boxes, repairs)


def _can_be_a_name(ident: str) -> bool:
    try:
        return b"\0" not in os.fsencode(ident)
    except UnicodeEncodeError:
        return False


def _annotations(line: _Line, box: str, account: Account, tags: Counter[str]) -> list[dict[str, Any]]:
    kept = []
    for place, item in enumerate(line.boxes):
        name = f"box {place} of {line.name}"
        try:
            annotation, repairs = read_box(place, item, box)
        except UnusableError as error:
            account.leave_out(ANNOTATIONS, name, line.ident, error)
            continue
        account.add(ANNOTATIONS, (line.number, place), name, repairs)
        kept.append(annotation)
        tag = item.get("tag")
        if not isinstance(tag, str) or tag not in KNOWN_TAGS:
            tags["no tag" if tag is None else shown(tag)] += 1
    return kept
