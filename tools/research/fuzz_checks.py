"""What must hold when a case of fuzz_cases.py is read, checked in a process of its own.

A case that kills that process, or takes more than a few seconds of it, is found like any other.
"""

import json
import logging
import math
import multiprocessing
import os
import resource
import signal
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fuzz_cases import HEIGHT, IMAGES, WIDTH
from PIL import Image
from tqdm import tqdm

MOST_SECONDS = 5  # of the processor, for one case
_MOST_WAITING = 120  # of the clock, on a machine with other work
_MOST_LEAVING = 60  # of the clock, for tidying up
_MOST_MEMORY = 24 * 2**30  # addresses; what libraries reserve is most of it
_MOST_DRAWN = 4_000_000  # pixels of a mask that is drawn


@dataclass
class Outcome:
    """What became of a case.

    Attributes:
        kind: "read" (all of it as it is), "repaired", "left out" (some of it), "refused", or "fault".
        signature: of a fault: what and where, the same for cases alike.
        detail: of a fault, the whole story.
        counts: entries by what became of them, of files of annotations.
        warned: kinds of warnings.
    """

    kind: str
    signature: str = ""
    detail: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    warned: list[str] = field(default_factory=list)


# Takes the bytes, what was valid of them, the places that are still as they were, and a folder to write to.
Check = Callable[[bytes, Any, set[tuple] | None, Path], Outcome]


class BrokenError(Exception):
    """A property that doesn't hold."""


def require(holds: bool, what: str) -> None:
    """Raises BrokenError unless it `holds`."""
    if not holds:
        raise BrokenError(what)


def require_one_sentence(error: ValueError) -> None:
    """Our errors name the argument, and are one line."""
    text = str(error)
    clear = text.startswith("`") and ": " in text and "\n" not in text.strip() and len(text) < 3000
    require(clear, f"unclear: {text!r}")


# ---- annotation files ----


def check_coco(data: bytes, content: Any, untouched: set[tuple] | None, folder: Path) -> Outcome:
    """Reads a COCO file in the ways that tools do, and draws every mask that was accepted."""
    from odam_d2.data.coco import CocoFile

    path = folder / "annotations.json"
    path.write_bytes(data)
    try:
        file = CocoFile(path, images=folder if len(data) % 2 else None)
    except ValueError as error:
        require_one_sentence(error)
        return Outcome("refused")
    items = [item for record in file.records for item in record["annotations"]]
    counts = _add_up(file.account, "annotation", len(items))
    _add_up(file.account, "image", len(file.records))
    masks = _add_up(file.account, "mask", sum("segmentation" in item for item in items))
    for record in file.records:
        _use(record)
    if untouched is not None:
        _require_untouched_annotations(file, content, untouched)
    for read in (lambda: file.match([folder / "1.png"]), file.known_records):
        try:
            read()
        except ValueError as error:
            require_one_sentence(error)
    _add_up(file.account, "annotation", None)
    images = file.account.count("image")
    everything = [*map(dict.items, (counts, images, masks))]
    total = {key: sum(dict(one)[key] for one in everything) for key in counts}
    return Outcome(_kind(total), counts=counts)


def check_odgt(data: bytes, content: Any, untouched: set[tuple] | None, folder: Path) -> Outcome:
    """Reads an `.odgt` file for either kind of box, and scores a detector that finds just what is annotated."""
    import numpy as np

    from odam_d2.data.crowdhuman import read_odgt
    from odam_d2.evaluation.crowd.objects import CrowdObjects
    from odam_d2.evaluation.crowd.protocol import PROTOCOLS
    from odam_d2.evaluation.crowd.table import crowd_table

    path, totals = folder / "a.odgt", {}
    path.write_bytes(data)
    for box in ("full", "visible"):
        path.with_suffix(".sizes.json").unlink(missing_ok=True)
        try:
            found = read_odgt(path, folder, box)
        except ValueError as error:
            require_one_sentence(error)
            return Outcome("refused")
        people = [item for record in found.records for item in record["annotations"]]
        totals = _add_up(found.account, "annotation", len(people))
        images = _add_up(found.account, "image", len(found.records))
        require(images["left_out"] == len(found.bad), "not every line that was left out is named")
        objects = [CrowdObjects.of(record, box) for record in found.records]
        for name in PROTOCOLS:
            table = crowd_table([(one.boxes, np.ones(len(one))) for one in objects], objects, protocol=name)
            for row in table.values():
                figures = [row[key] for key in ("AP", "recall", "MR", "JI")]
                require(all(math.isnan(figure) or 0 <= figure < 100.001 for figure in figures), f"figures: {row}")
        if untouched is not None:
            _require_untouched_lines(found.records, content, untouched, box)
        totals = {key: totals[key] + images[key] for key in totals}
    return Outcome(_kind(totals), counts=totals)


def _add_up(account: Any, kind: str, used: int | None) -> dict[str, int]:
    counts = account.count(kind)
    require(counts["all"] == sum(counts[key] for key in ("as_they_are", "repaired", "left_out")), f"{kind}: {counts}")
    require(min(counts.values()) >= 0, f"{kind}: {counts}")
    if used is not None:
        require(counts["as_they_are"] + counts["repaired"] == used, f"{kind}: {counts}, but {used} are used")
    require(counts["left_out"] == sum(one.kind == kind for one in account.left_out), f"{kind}: not all are named")
    json.dumps(account.as_json()).encode("utf-8")
    text = "\n".join(account.lines())
    require(len(text) < 20_000, "the account is too long")
    return counts


def _use(record: dict) -> None:
    """What tools do with a record."""
    import numpy as np
    from pycocotools import mask as mask_util

    from odam_d2.data.segmentations import decode_segmentation
    from odam_d2.evaluation.ground_truth import TrueObjects

    for item in record["annotations"]:
        box = [float(value) for value in item["bbox"]]
        require(len(box) == 4 and all(map(math.isfinite, box)) and min(box[2:]) > 0, f"a box is {box}")
        mask_util.iou(np.array([box]), np.array([box]), [int(item.get("iscrowd", 0))])
    height, width = record.get("height"), record.get("width")
    if height is None or width is None or height * width > _MOST_DRAWN:
        return
    for item in record["annotations"]:
        if "segmentation" in item:
            mask = decode_segmentation(item["segmentation"], (height, width))
            require(mask.shape == (height, width), f"a mask is {mask.shape}")
            packed = item["segmentation"]
            if not isinstance(packed, dict) or isinstance(packed["counts"], list):
                packed = mask_util.frPyObjects(packed, height, width)
            mask_util.area(packed)
            mask_util.toBbox(packed)
    objects = TrueObjects.of(record)
    if len(objects.boxes) * height * width <= 4 * _MOST_DRAWN:
        require(bool((objects.masks.sum((1, 2)) >= 0).all()), "masks can't be counted")


def _require_untouched_annotations(file: Any, content: dict, untouched: set[tuple]) -> None:
    if ("categories",) not in untouched:
        return
    names = {one["id"]: one["name"] for one in content["categories"]}
    records = {Path(record["file_name"]).name: record for record in file.records}
    for place, image in enumerate(content["images"]):
        if ("images", place) not in untouched:
            continue
        record = records.get(image["file_name"])
        require(record is not None, f"image {image} is gone")
        require((record["height"], record["width"]) == (image["height"], image["width"]), f"{image} has another size")
        found = [
            (file.class_names[item["category_id"]], item["bbox"], item.get("segmentation"), item.get("iscrowd"))
            for item in record["annotations"]
        ]
        for number, item in enumerate(content["annotations"]):
            if item["image_id"] == image["id"] and ("annotations", number) in untouched:
                expected = (names[item["category_id"]], item["bbox"], item.get("segmentation"), item["iscrowd"])
                require(expected in found, f"annotation {item} became another one of {found}")


def _require_untouched_lines(records: list[dict], content: list[dict], untouched: set[tuple], box: str) -> None:
    if any((place, "ID") not in untouched for place in range(len(content))):
        return  # another line may have taken this one's name
    by_name = {record["image_id"]: record for record in records}
    for place, line in enumerate(content):
        if (place,) not in untouched:
            continue
        record = by_name.get(line["ID"])
        require(record is not None and (record["height"], record["width"]) == (HEIGHT, WIDTH), f"{line} is gone")
        key = "fbox" if box == "full" else "vbox"
        expected = [[*one[key][:2], one[key][0] + one[key][2], one[key][1] + one[key][3]] for one in line["gtboxes"]]
        require([item["bbox"] for item in record["annotations"]] == expected, f"boxes of {line} changed")
        ignored = [int(one["tag"] != "person") for one in line["gtboxes"]]
        require([item["iscrowd"] for item in record["annotations"]] == ignored, f"tags of {line} changed")


def _kind(counts: dict[str, int]) -> str:
    return "left out" if counts["left_out"] else "repaired" if counts["repaired"] else "read"


# ---- images ----


def check_image(data: bytes, _content: Any, untouched: set[tuple] | None, folder: Path) -> Outcome:
    """Reads an image's size, and the image."""
    from odam_d2.data.images import read_image_bgr, read_image_size

    path = folder / "changed"
    path.write_bytes(data)
    sizes = []
    for read in (read_image_size, lambda path: read_image_bgr(path).shape[:2]):
        try:
            sizes.append(tuple(read(path)))
        except ValueError as error:
            require_one_sentence(error)
            sizes.append(None)
    require(None in sizes or sizes[0] == sizes[1], f"read_image_size says {sizes[0]}, read_image_bgr {sizes[1]}")
    if sizes[1] is not None:
        return Outcome("read")
    return Outcome("size only" if sizes[0] is not None else "refused")


CHECKS: dict[str, Check] = {
    "coco": check_coco,
    "odgt": check_odgt,
    "image": check_image,
}


# ---- the process ----


def _serve(pipe: Connection, checks: Mapping[str, Check], most_seconds: int) -> None:
    """Checks cases until the pipe is closed."""
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders of images write there
    logging.disable()
    tqdm.set_lock(threading.RLock())  # not one between processes, which would be left over
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name in IMAGES:
            Image.new("RGB", (WIDTH, HEIGHT)).save(folder / name)
        for check in checks.values():  # what is imported at first isn't a case's time
            check(b"", None, None, folder)
        pipe.send("ready")
        while True:
            try:
                kind, data, content, untouched = pipe.recv()
            except EOFError:
                break
            used = resource.getrusage(resource.RUSAGE_SELF)
            # The system ends the process, whatever it is busy with.
            resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + most_seconds + 1, -1))
            pipe.send(_outcome(checks[kind], data, content, untouched, folder))
    os._exit(0)  # at once: what libraries tidy up takes seconds


def _outcome(check: Check, data: bytes, content: Any, untouched: set[tuple] | None, folder: Path) -> Outcome:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            found = check(data, content, untouched, folder)
        except BaseException as error:  # anything at all is a finding
            last = next(
                (one for one in reversed(traceback.extract_tb(error.__traceback__)) if "odam_d2" in one.filename), None
            )
            place = f" in {Path(last.filename).name}, {last.name}" if last else ""
            what = str(error).partition(":")[0][:60] if isinstance(error, BrokenError) else ""
            found = Outcome("fault", f"{type(error).__name__}{place} {what}".strip(), traceback.format_exc())
    found.warned = sorted({f"{one.category.__name__}: {str(one.message)[:60]}" for one in warned})
    return found


class Checker:
    """Checks cases, in another process; a context manager.

    Args:
        checks: by the kind of the case; functions of modules.
        most_seconds: of the processor that a case may take.
    """

    def __init__(self, checks: Mapping[str, Check] = CHECKS, most_seconds: int = MOST_SECONDS) -> None:
        self._checks, self._most_seconds = dict(checks), most_seconds
        self._process: Any = None
        self._pipe: Any = None

    def __enter__(self) -> "Checker":
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop()

    def check(self, kind: str, data: bytes, content: Any = None, untouched: set[tuple] | None = None) -> Outcome:
        """What becomes of a case."""
        if self._process is None:
            self._start()
        self._pipe.send((kind, data, content, untouched))
        try:
            if self._pipe.poll(_MOST_WAITING):
                return self._pipe.recv()
            what = f"waited for more than {_MOST_WAITING} s"
        except (EOFError, ConnectionError):
            self._process.join()
            code = self._process.exitcode
            long = code == -signal.SIGXCPU
            what = f"took more than {self._most_seconds} s" if long else f"the process ended with {code}"
        self._stop()
        return Outcome("fault", what, what)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._checks, self._most_seconds), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()

    def _stop(self) -> None:
        if self._process is not None:
            self._pipe.close()
            self._process.join(_MOST_LEAVING)
            self._process.kill()
            self._process.join()
            self._process = None
