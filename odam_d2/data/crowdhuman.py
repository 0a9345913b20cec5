"""Reads CrowdHuman, and other data in its `.odgt` format, as Detectron2 dicts.

One line of JSON for each image, ``{"ID": ..., "gtboxes": [...]}``; the image is ``<ID>.jpg``. Each of ``gtboxes`` has a
``tag``, the boxes ``fbox`` (the whole body, also where it is hidden or beyond the image), ``vbox`` (what is seen of
it) and ``hbox`` (the head), each as (x, y, width, height) in pixels, ``head_attr`` and ``extra``. Source: Shao et al.,
"CrowdHuman: A Benchmark for Detecting Human in a Crowd", 2018 (arXiv 1805.00123).
"""

import json
import logging
import math
import os
from dataclasses import dataclass
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from .image_sizes import image_sizes

BOXES = ("full", "visible")


@dataclass
class OdgtContent:
    """What an `.odgt` file holds.

    Attributes:
        records: Detectron2 dicts, see :func:`load_crowdhuman`, in the order of the file.
        lines: number of the line that each record comes from, from 1.
        bad: what is wrong with each line that was left out, one sentence with file and line each.
        sizeless: how many annotations were left out because their box has no size.
    """

    records: list[dict]
    lines: list[int]
    bad: list[str]
    sizeless: int


def load_crowdhuman(
    odgt: str | os.PathLike, image_root: str | os.PathLike, box: str = "full", skip_bad: bool = False
) -> list[dict]:
    """Detectron2 dicts of a data set in CrowdHuman's format.

    Args:
        odgt: the annotations. Sizes of images, which CrowdHuman's files lack, are taken from ``width`` and
            ``height`` of a line where it has them, else from the image; those are cached in
            ``<odgt without its suffix>.sizes.json``.
        image_root: folder of the images, ``<ID>.jpg``.
        box: what ``bbox`` is: "full", the whole body, or "visible".
        skip_bad: leave lines out that can't be used, and say so in the log.

    Returns:
        A dict an image with ``file_name``, ``image_id`` (the ID, text), ``height``, ``width`` and ``annotations``:

        - ``bbox``, ``bbox_mode`` (XYXY_ABS), ``category_id`` (0);
        - ``iscrowd``: 1 for an ignore region, which is what has another tag than "person" ("mask") or ``ignore`` in
          ``extra``;
        - ``full_box``, ``visible_box`` and ``head_box`` (None where the line has none), XYXY pixels in the image's
          frame, also beyond the image; ``head_ignore``, 1 where the head can't be recognised;
        - ``box_id``: of ``extra``, else the number in the line.

        An annotation whose full box or whose ``bbox`` has no size is left out.

    Raises:
        ValueError: if the file can't be read; or, without `skip_bad`, for the first line that can't be used or whose
            image can't be read; it names file and line.
    """
    content = read_odgt(odgt, image_root, box, skip_bad)
    logger = logging.getLogger(__name__)
    if content.bad:
        logger.warning(f"Left out {len(content.bad)} bad lines of {str(odgt)!r}; the first: {content.bad[0]}")
    if content.sizeless:
        logger.info(f"Left out {content.sizeless} annotations of {str(odgt)!r} whose {box} box has no size")
    return content.records


def read_odgt(
    odgt: str | os.PathLike, image_root: str | os.PathLike, box: str = "full", skip_bad: bool = False
) -> OdgtContent:
    """Reads a file for :func:`load_crowdhuman`, whose arguments and errors it has, and says what was left out."""
    if box not in BOXES:
        raise ValueError(f"`box` must be one of {BOXES}; got {box!r}: choose one")
    odgt = os.fspath(odgt)
    content = OdgtContent([], [], [], 0)
    first: dict[str, int] = {}
    for number, text in _lines(odgt):
        try:
            record, sizeless = _record(text, os.fspath(image_root), box)
            if record["image_id"] in first:
                raise ValueError(f"repeats the `ID` {record['image_id']!r} of line {first[record['image_id']]}")
        except ValueError as error:
            _refuse(content, odgt, number, str(error), skip_bad)
            continue
        first[record["image_id"]] = number
        content.records.append(record)
        content.lines.append(number)
        content.sizeless += sizeless
    _add_sizes(content, odgt, skip_bad)
    return content


def register_crowdhuman(
    name: str, odgt: str | os.PathLike, image_root: str | os.PathLike, box: str = "full", skip_bad: bool = False
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


def _lines(odgt: str):
    """Yields (number, bytes) of the lines that aren't empty."""
    try:
        with open(odgt, "rb") as file:
            for number, text in enumerate(file, 1):
                if text.strip():
                    yield number, text
    except OSError as error:
        raise ValueError(
            f"`odgt` must be a text file in CrowdHuman's format; got {odgt!r}: {error.strerror}; datasets/README.md "
            "says where CrowdHuman's files belong"
        ) from error


def _refuse(content: OdgtContent, odgt: str, number: int, reason: str, skip_bad: bool) -> None:
    message = f"line {number} of {odgt!r} {reason}"
    if not skip_bad:
        raise ValueError(
            f"`odgt` must hold a JSON object with `ID` and `gtboxes` in every line, and its image must be there; "
            f"{message}: mend it, or write a file without bad lines with odam check-crowdhuman --skip-bad --write"
        )
    content.bad.append(message)


def _record(text: bytes, image_root: str, box: str) -> tuple[dict, int]:
    """The record of a line, possibly still without a size, and how many annotations were left out.

    Raises:
        ValueError: what is wrong with the line, as it follows "line 3 of file".
    """
    try:
        line = json.loads(text.decode("utf-8").rstrip())
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON ({error.msg} at character {error.pos + 1})") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"is no UTF-8 ({error.reason} at byte {error.start + 1})") from error
    if not isinstance(line, dict):
        raise ValueError("is no JSON object")
    ident, boxes = line.get("ID"), line.get("gtboxes")
    if not isinstance(ident, str) or not ident:
        raise ValueError(f"has no text `ID` (got {ident!r})")
    if not isinstance(boxes, list):
        raise ValueError(f"has no list `gtboxes` (got {type(boxes).__name__})")
    annotations = [_annotation(number, item, box) for number, item in enumerate(boxes)]
    kept = [item for item in annotations if _has_size(item["full_box"]) and _has_size(item["bbox"])]
    record = {"file_name": os.path.join(image_root, f"{ident}.jpg"), "image_id": ident, "annotations": kept}
    size = {key: line[key] for key in ("height", "width") if isinstance(line.get(key), int) and line[key] > 0}
    if len(size) == 2:
        record |= size
    return record, len(annotations) - len(kept)


def _annotation(number: int, item: Any, box: str) -> dict:
    if not isinstance(item, dict):
        raise ValueError(f"has no object as its box {number}")
    extra, head = item.get("extra", {}), item.get("head_attr", {})
    if not isinstance(extra, dict) or not isinstance(head, dict):
        raise ValueError(f"has something else than an object as `extra` or `head_attr` of box {number}")
    boxes = {"full_box": _xyxy(number, item, "fbox"), "visible_box": _xyxy(number, item, "vbox")}
    ignored = item.get("tag") != "person" or bool(extra.get("ignore", 0))
    return {
        "bbox": list(boxes[f"{box}_box"]),
        "bbox_mode": BoxMode.XYXY_ABS,
        "category_id": 0,
        "iscrowd": int(ignored),
        **boxes,
        "head_box": _xyxy(number, item, "hbox") if "hbox" in item else None,
        "head_ignore": int(ignored or bool(head.get("ignore", 0))),
        "box_id": extra.get("box_id", number),
    }


def _xyxy(number: int, item: dict, key: str) -> list[float]:
    box = item.get(key)
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_finite, box)):
        raise ValueError(f"has no four finite numbers as `{key}` of box {number} (got {box!r})")
    x, y, width, height = (float(side) for side in box)
    return [x, y, x + width, y + height]


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _has_size(box: list[float]) -> bool:
    return box[2] > box[0] and box[3] > box[1]


def _add_sizes(content: OdgtContent, odgt: str, skip_bad: bool) -> None:
    """Adds sizes to records whose line has none; removes those whose image can't be read."""
    unknown = {r["image_id"]: r["file_name"] for r in content.records if "height" not in r}
    if not unknown:
        return
    sizes, failures = image_sizes(unknown, f"{os.path.splitext(odgt)[0]}.sizes.json")
    kept = []
    for record, number in zip(content.records, content.lines):
        if record["image_id"] in failures:
            _refuse(content, odgt, number, f"has no readable image ({failures[record['image_id']]})", skip_bad)
            continue
        if record["image_id"] in sizes:
            record["height"], record["width"] = sizes[record["image_id"]]
        kept.append((record, number))
    content.records, content.lines = [record for record, _ in kept], [number for _, number in kept]
