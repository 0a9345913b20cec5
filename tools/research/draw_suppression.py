#!/usr/bin/env python
"""Draws where two ways to remove duplicates differ, from a finished run of odam tune-nms.

    tools/research/draw_suppression.py output/reported --won 8 --lost 4 --output suppression.jpg

First come objects that --way finds and --rival doesn't, then mistakes of --way: objects that only the rival finds, and
superfluous boxes. A row for each, of different images, by falling score: the object (or the superfluous box) in green,
the rival's boxes near it, and those of --way, of detections above --score-threshold. Thresholds are those that the run
was given by --thresholds, or else the published ones.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import odam_d2  # noqa: F401  before Detectron2, whose import warns of itself

# isort: split
import numpy as np
from detectron2.data import DatasetCatalog
from detectron2.structures import Instances

from odam_d2.cli.arguments import failure, finite, script_parser, whole
from odam_d2.data.images import read_image_bgr
from odam_d2.data.matching import match_detections
from odam_d2.evaluation.crowd.objects import overlaps
from odam_d2.evaluation.ground_truth import TrueObjects
from odam_d2.evaluation.nms_tuning.candidates import Candidates, CandidateStore
from odam_d2.evaluation.nms_tuning.suppression import SUPPRESSIONS, suppress
from odam_d2.visualize.crops import crop, region_around, write_rows
from odam_d2.visualize.overlay import outline_box
from odam_d2.visualize.strips import label_panels

_OBJECT, _DETECTED = (0.49, 1.0, 0.61), (1.0, 0.62, 0.2)
MATCH_IOU = 0.5
NEAR_IOU = 0.3  # boxes that overlap what happened by less are left out of the image
SAME_IOU = 0.9  # above this, a box of one way is a box of the other too


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("run", metavar="DIR", help="--output of odam tune-nms, finished")
    add("--way", default="odam_nms", choices=list(SUPPRESSIONS), help="the way to look at (default: odam_nms)")
    add("--rival", default="nms", choices=list(SUPPRESSIONS), help="the way to compare it with (default: nms)")
    add("--won", type=whole, default=8, metavar="N", help="most objects that only --way finds (default: 8)")
    add("--lost", type=whole, default=4, metavar="N", help="most mistakes of --way (default: 4)")
    add("--score-threshold", type=finite, default=0.5, metavar="S", help="lowest score of a detection (default: 0.5)")
    add("--output", required=True, metavar="JPG", help="the image to write")
    return parser


@dataclass(frozen=True)
class Difference:
    """Something that one way found and the other didn't.

    Attributes:
        number: of the image in its data set.
        box: (4,) XYXY in the original frame.
        words: what happened to it.
        won: whether it speaks for --way.
        score: of the detection.
    """

    number: int
    box: np.ndarray
    words: str
    won: bool
    score: float


def differences(number: int, record: dict[str, Any], own: Instances, rival: Instances) -> Iterator[Difference]:
    """What two sets of detections of an image disagree on.

    Args:
        number: of the image.
        record: its annotations.
        own: detections of the one way, in the original frame.
        rival: of the other.
    """
    truth, found, spare = TrueObjects.of(record), [], []
    for detected in (own, rival):
        matches = match_detections(
            detected.pred_boxes.tensor, detected.scores, detected.pred_classes, truth.boxes, truth.classes, MATCH_IOU
        )
        pairs = zip(matches.objects.tolist(), matches.detections.tolist(), strict=True)
        found.append({o: float(detected.scores[d]) for o, d in pairs})
        spare.append(sorted(set(range(len(detected))) - set(matches.detections.tolist())))
    for won, here, there in ((True, *found), (False, *found[::-1])):
        for row in sorted(here.keys() - there.keys()):
            yield Difference(number, truth.boxes[row].numpy(), "found" if won else "lost", won, here[row])
    left, crowds = own[spare[0]], [item["bbox"] for item in record["annotations"] if item.get("iscrowd", 0)]
    boxes = left.pred_boxes.tensor.numpy()
    shared = overlaps(boxes, rival.pred_boxes.tensor.numpy()).max(axis=1, initial=0) > SAME_IOU
    on_crowd = overlaps(boxes, np.array(crowds).reshape(-1, 4), of_box=True).max(axis=1, initial=0) > MATCH_IOU
    for row in np.flatnonzero(~shared & ~on_crowd):
        yield Difference(number, boxes[row], "superfluous", False, float(left.scores[row]))


def surest(found: Sequence[Difference], won: bool, count: int) -> list[Difference]:
    """At most `count` of one kind by falling score, one of each image."""
    chosen: dict[int, Difference] = {}
    for one in sorted((d for d in found if d.won == won), key=lambda d: -d.score):
        chosen.setdefault(one.number, one)
    return list(chosen.values())[:count]


def draw_difference(
    one: Difference, record: dict[str, Any], own: Instances, rival: Instances, ways: tuple[str, str]
) -> np.ndarray:
    """(h, w, 3) uint8 RGB row of three panels: the object, the boxes of the rival, and those of the way itself."""
    image = np.ascontiguousarray(read_image_bgr(record["file_name"])[:, :, ::-1])
    region = region_around(one.box, *image.shape[:2])
    panels, titles = [crop(image, region, one.box, color=_OBJECT)], [f"{one.words}, score {one.score:.2f}"]
    for name, detected in zip(ways, (rival, own), strict=True):
        drawn, boxes = image, detected.pred_boxes.tensor.numpy()
        for box in boxes[overlaps(boxes, one.box[None]).max(axis=1, initial=0) > NEAR_IOU]:
            drawn = outline_box(drawn, box, _DETECTED)
        panels.append(crop(drawn, region, one.box, color=_OBJECT))
        titles.append(name)
    return label_panels(panels, titles)


def thresholds_of(rows: Sequence[dict[str, Any]], way: str) -> dict[str, float]:
    """Those that the run was given, or else the published ones.

    Raises:
        ValueError: if the run did not try this way.
    """
    mine = {row["origin"]: row["thresholds"] for row in rows if row["way"] == way}
    if not mine:
        known = sorted({row["way"] for row in rows})
        raise ValueError(f"`--way` and `--rival` must be of the run's; got {way}: it has {known}")
    return mine.get("chosen", mine.get("published"))


def find_differences(folder: Path, args: argparse.Namespace) -> tuple[list[dict], dict[int, tuple], list[Difference]]:
    """The records of the run, by image the detections of both ways, and all that they disagree on."""
    if not (folder / "grid.json").is_file():
        raise ValueError(f"`run` must be finished; got {folder} without grid.json: run odam tune-nms --resume")
    about = json.loads((folder / "grid.json").read_text(encoding="utf-8"))
    settings = {way: thresholds_of(about["rows"], way) for way in (args.way, args.rival)}
    records, store = DatasetCatalog.get(about["dataset"]), CandidateStore(folder / "candidates")
    detected: dict[int, tuple] = {}
    found: list[Difference] = []
    for number in range(about["skip_images"], about["skip_images"] + about["images"]):
        candidates = store.read(number)
        if candidates is None:
            raise ValueError(f"`run` must keep its candidates; got none of image {number}: run odam tune-nms again")
        both = tuple(_sure(candidates, way, settings[way], about["most"], args.score_threshold) for way in settings)
        detected[number] = both
        found += differences(number, records[number], *both)
    return records, detected, found


def _sure(candidates: Candidates, way: str, thresholds: dict[str, float], most: int, least: float) -> Instances:
    kept = suppress(candidates, way, thresholds, most)
    return kept[kept.scores >= least]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit code."""
    args = argument_parser().parse_args(argv)
    try:
        if args.way == args.rival:
            raise ValueError(f"`--rival` must be another way than --way; got {args.rival} for both: name two")
        records, detected, found = find_differences(Path(args.run), args)
        chosen = [*surest(found, True, args.won), *surest(found, False, args.lost)]
        if not chosen:
            raise ValueError(f"`--rival` must differ somewhere; got {args.rival}, which never does: nothing to draw")
    except (ValueError, OSError, KeyError) as error:
        return failure(error)
    strips = [draw_difference(d, records[d.number], *detected[d.number], (args.rival, args.way)) for d in chosen]
    write_rows(args.output, strips)
    kinds = [f"{sum(d.words == words for d in found)} {words}" for words in ("found", "lost", "superfluous")]
    print(f"{args.way} beside {args.rival}: {', '.join(kinds)}. Written to {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
