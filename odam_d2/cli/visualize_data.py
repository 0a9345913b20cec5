"""Draws the annotations of data sets on their images: a file for each image, or one montage.

    odam visualize-data --dataset-name synthetic_scene_val --num 20 --output-dir output/data
    odam visualize-data --dataset-name synthetic_scene_val synthetic_crowd_val --num 6 --montage samples.jpg
    odam visualize-data --source dataloader --config-file synthetic/fcos_compact_FPN --num 20 --output-dir output/data

Solid boxes are the visible parts, dashed boxes whole objects, small boxes heads; grey regions are ignored.

Exit code: 0; 1 if a data set or an image can't be read, or a file can't be written; 2 if an argument is wrong.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from PIL import Image, ImageDraw

from ..data import register_datasets
from ..data.account import Account
from ..data.images import read_image_bgr
from ..data.inputs import shown
from ..data.records import judged_records, load_dataset
from ..data.segmentations import decode_segmentation
from ..utils.files import atomic_write, distinct_names
from ..utils.imports import import_file_or_module
from ..utils.words import printable
from ..visualize.storage import class_name
from ..visualize.text import draw_text, drawn_name, fitting
from .annotated import add_strict, tell
from .arguments import add_config, command_parser, count, failure
from .config import read_config

_SUFFIXES = (".jpg", ".jpeg", ".png")
_GREY = (190, 190, 190)
_FONT_SIZE = 12  # pixels
_LONGEST_JPEG = 65535  # pixels of a side
_HUE_STEP = 0.618034  # of the colour circle, the golden section: neighbours in the list differ most


def draw_annotations(image: np.ndarray, annotations: list[dict], thing_classes: list[str]) -> np.ndarray:
    """Draws masks, boxes and class names.

    Args:
        image: (H, W, 3) uint8 BGR.
        annotations: as in Detectron2 dicts; `full_box`, `visible_box` and `head_box` (XYXY) are drawn where given.
        thing_classes: class names.

    Returns:
        A new (H, W, 3) uint8 BGR image.
    """
    canvas, labels = image.copy(), []
    for number, annotation in enumerate(annotations):
        ignored = annotation.get("iscrowd", 0) == 1
        color = _GREY if ignored else _color(number)
        if annotation.get("segmentation"):
            mask = decode_segmentation(annotation["segmentation"], image.shape[:2])
            share = 0.6 if ignored else 0.1
            canvas[mask] = (canvas[mask] * (1 - share) + np.array(color) * share).astype(np.uint8)
            contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            cv2.drawContours(canvas, contours, -1, color, 1, cv2.LINE_AA)
        box = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
        seen = annotation.get("visible_box") or box
        if annotation.get("full_box") and annotation["full_box"] != seen:
            dashed_box(canvas, annotation["full_box"], color)
        if ignored:
            continue
        start, end = _corners(seen)
        cv2.rectangle(canvas, start, end, color, 1)
        if annotation.get("head_box"):
            top, bottom = _corners(annotation["head_box"])
            cv2.rectangle(canvas, top, bottom, color, 1)
        if len(thing_classes) > 1:
            category = annotation["category_id"]
            labels.append((drawn_name(category, class_name(category, thing_classes)), start, color))
    return _with_labels(canvas, labels)


def _with_labels(canvas: np.ndarray, labels: list[tuple[str, tuple[int, int], tuple[int, int, int]]]) -> np.ndarray:
    """Writes each label into the upper left corner of its box, in its BGR colour."""
    if not labels:
        return canvas
    sheet = Image.fromarray(canvas[:, :, ::-1])
    pen = ImageDraw.Draw(sheet)
    for text, (x, y), color in labels:
        place = (max(0, x + 3), max(0, y) + 9)
        draw_text(pen, place, fitting(text, _FONT_SIZE, sheet.width - place[0]), color[::-1], _FONT_SIZE)
    return np.ascontiguousarray(np.asarray(sheet)[:, :, ::-1])


def _color(number: int) -> tuple[int, int, int]:
    """A bright BGR colour for the object with this number."""
    hue = int(180 * (number * _HUE_STEP % 1))
    blue, green, red = cv2.cvtColor(np.array([[[hue, 190, 255]]], np.uint8), cv2.COLOR_HSV2BGR)[0, 0]
    return int(blue), int(green), int(red)


def dashed_box(canvas: np.ndarray, box, color, dash: int = 6) -> None:
    """Draws an XYXY box in dashes, in place."""
    (x1, y1), (x2, y2) = _corners(box)
    for x in range(x1, x2, 2 * dash):
        for y in (y1, y2):
            cv2.line(canvas, (x, y), (min(x + dash, x2), y), color, 1)
    for y in range(y1, y2, 2 * dash):
        for x in (x1, x2):
            cv2.line(canvas, (x, y), (x, min(y + dash, y2)), color, 1)


def _corners(box):
    """First and last pixel of an XYXY box of pixel edges."""
    x1, y1, x2, y2 = (int(round(value)) for value in box)
    return (x1, y1), (x2 - 1, y2 - 1)


def montage(images: list[np.ndarray], columns: int, width: int, height: int) -> np.ndarray:
    """Lays images out in rows of `columns` cells of width x height; what is left of the last row stays white."""
    cells = [cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in images]
    cells += [np.full((height, width, 3), 255, np.uint8)] * (-len(cells) % columns)
    return np.vstack([np.hstack(cells[k : k + columns]) for k in range(0, len(cells), columns)])


def from_annotations(name: str, num: int, strict: bool = False):
    """Yields (file, prefix of the drawn image's name, drawn image) of the first `num` records of a data set.

    In place of an image that can't be read None is drawn, which is said. For `strict` see :func:`add_strict`.
    """
    if name not in DatasetCatalog:
        raise ValueError(
            f"`--dataset-name` must be registered; got {name!r}: choose one of {sorted(DatasetCatalog.list())}, or "
            "--import the file that registers it"
        )
    classes = MetadataCatalog.get(name).get("thing_classes", [])
    account = Account(name)
    records = judged_records(load_dataset(name), account)
    tell(account, strict)
    for record in records[:num]:
        try:
            image = read_image_bgr(record["file_name"])
        except ValueError as error:
            print(f"failed: {printable(str(error))}", file=sys.stderr)
            yield record["file_name"], "", None
            continue
        yield record["file_name"], "", draw_annotations(image, record.get("annotations", []), classes)


def from_dataloader(args: argparse.Namespace):
    """Yields (file, prefix, drawn image) of what a detector sees in training, flips and resizing included."""
    config = read_config(args, traced=False)
    names = config.given_class_names or MetadataCatalog.get(config.datasets("train")[0]).get("thing_classes", [])
    classes, (samples, input_format) = list(names), config.train_samples()
    for number, sample in enumerate(islice(samples, args.num)):
        image = shown(sample["image"], input_format)[:, :, ::-1]
        annotations = [
            {"bbox": box.tolist(), "bbox_mode": BoxMode.XYXY_ABS, "category_id": int(category)}
            for box, category in zip(sample["instances"].gt_boxes.tensor, sample["instances"].gt_classes)
        ]
        drawn = draw_annotations(np.ascontiguousarray(image), annotations, classes)
        yield sample["file_name"], f"{number:04d}_", drawn


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = command_parser("visualize-data", __doc__)
    add = parser.add_argument
    add("--source", choices=["annotation", "dataloader"], default="annotation",
        help="annotations as they are, or what a detector sees in training (default: annotation)")  # fmt: skip
    add("--dataset-name", nargs="+", default=["synthetic_scene_val"], metavar="NAME",
        help="registered data sets, for --source annotation (default: synthetic_scene_val)")  # fmt: skip
    add_config(parser, required=False)
    add_strict(parser)
    add("--num", type=count, default=12, metavar="N", help="images of each data set (default: 12)")
    add("--output-dir", metavar="DIR", help="folder for one file per image")
    add("--montage", metavar="FILE", help="one file for all images")
    add("--columns", type=count, default=4, metavar="N", help="columns of the montage (default: 4)")
    add("--cell", type=count, nargs=2, default=(400, 300), metavar=("WIDTH", "HEIGHT"),
        help="size of an image in the montage, in pixels (default: 400 300)")  # fmt: skip
    add("--quality", type=count, default=80, metavar="Q", help="JPEG quality of the montage (default: 80)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code; a wrong argument raises SystemExit(2) as argparse does."""
    parser = argument_parser()
    args = parser.parse_args(argv)
    if not (args.output_dir or args.montage):
        parser.error("give --output-dir DIR, --montage FILE, or both")
    if args.source == "dataloader" and not args.config_file:
        parser.error("--source dataloader needs --config-file")
    try:
        for name in args.imports:
            import_file_or_module(name)
        register_datasets()
        if args.source == "dataloader":
            drawn = list(from_dataloader(args))
        else:
            drawn = [item for name in args.dataset_name for item in from_annotations(name, args.num, args.strict)]
        readable = [one for one in drawn if one[2] is not None]
        if not readable:
            raise ValueError("the data set must have an image that can be read; got none: see above")
        if args.output_dir:
            for name, (_, _, image) in zip(output_names(readable, args.output_dir), readable, strict=True):
                _write(os.path.join(args.output_dir, name), image)
        if args.montage:
            sheet = montage([image for _, _, image in readable], args.columns, *args.cell)
            _write(args.montage, sheet, [cv2.IMWRITE_JPEG_QUALITY, args.quality])
    except (ValueError, ImportError, OSError) as error:
        return failure(error)
    return 0 if len(readable) == len(drawn) else 1


def output_names(drawn: Sequence[tuple[str, str, np.ndarray]], folder: str) -> list[str]:
    """A file name for each drawn image: its own, as JPEG or PNG; numbered where several would be one.

    Args:
        drawn: (file, prefix, drawn image) of each.
        folder: where the files go; images that lie there keep their names to themselves.
    """
    suffixes = []
    for file, _, image in drawn:
        own = os.path.splitext(file)[1].lower()
        kept = own in _SUFFIXES and not (own != ".png" and max(image.shape[:2]) > _LONGEST_JPEG)
        suffixes.append(own if kept else ".png")
    place = Path(folder).resolve()
    taken = [Path(file).stem for file, _, _ in drawn if Path(file).parent.resolve() == place]
    stems = distinct_names((prefix + Path(file).stem for file, prefix, _ in drawn), taken)
    return [stem + suffix for stem, suffix in zip(stems, suffixes, strict=True)]


def _write(path: str, image: np.ndarray, options: Sequence[int] = ()) -> None:
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in _SUFFIXES:
        raise ValueError(f"an image's file must end in .jpg or .png; got {path!r}: give it such a name")
    with atomic_write(path, "wb") as file:
        file.write(cv2.imencode(suffix, image, list(options))[1].tobytes())
