"""Draws what a data set says about its images: one image file each, or one montage.

    tools/visualize_data.py --dataset-name synthetic_scene_val --num 20 --output-dir output/data
    tools/visualize_data.py --dataset-name synthetic_scene_val synthetic_crowd_val --num 6 --montage samples.jpg
    tools/visualize_data.py --source dataloader --config-file configs/... --num 20 --output-dir output/data

Solid boxes are what is seen, dashed ones whole objects, thin ones heads; grey regions are ignored.
"""

import argparse
import os
import sys
from itertools import chain, islice

import cv2
import numpy as np
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog, build_detection_train_loader
from detectron2.data.detection_utils import convert_image_to_rgb
from detectron2.structures import BoxMode
from pycocotools import mask as mask_util

from ..config import add_odam_config
from ..data import register_datasets
from ..data.images import read_image_bgr
from ..utils.files import atomic_write
from ..utils.imports import import_file_or_module

_GREY = (190, 190, 190)
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
    canvas = image.copy()
    for number, annotation in enumerate(annotations):
        ignored = annotation.get("iscrowd", 0) == 1
        color = _GREY if ignored else _color(number)
        mask = decode_mask(annotation.get("segmentation"), *image.shape[:2])
        if mask is not None:
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
            corner = (start[0] + 3, start[1] + 12)
            cv2.putText(
                canvas, thing_classes[annotation["category_id"]], corner, cv2.FONT_HERSHEY_SIMPLEX, 0.4, color, 1
            )
    return canvas


def _color(number: int) -> tuple[int, int, int]:
    """A bright BGR colour for the object with this number."""
    hue = int(180 * (number * _HUE_STEP % 1))
    blue, green, red = cv2.cvtColor(np.array([[[hue, 190, 255]]], np.uint8), cv2.COLOR_HSV2BGR)[0, 0]
    return int(blue), int(green), int(red)


def decode_mask(segmentation, height: int, width: int) -> np.ndarray | None:
    """RLE or polygons -> (height, width) bool; None where there is no mask."""
    if not segmentation:
        return None
    if isinstance(segmentation, list):
        segmentation = mask_util.merge(mask_util.frPyObjects(segmentation, height, width))
    return mask_util.decode(segmentation).astype(bool)


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


def from_annotations(name: str, num: int):
    """Yields (file name, drawn image) of the first `num` records of a data set."""
    classes = MetadataCatalog.get(name).get("thing_classes", [])
    for record in DatasetCatalog.get(name)[:num]:
        image = read_image_bgr(record["file_name"])
        yield os.path.basename(record["file_name"]), draw_annotations(image, record.get("annotations", []), classes)


def from_dataloader(config_file: str, options: list[str], num: int):
    """Yields (file name, drawn image) of what a detector sees in training, flips and resizing included."""
    cfg = get_cfg()
    add_odam_config(cfg)
    cfg.merge_from_file(config_file)
    cfg.merge_from_list([*options, "DATALOADER.NUM_WORKERS", 0])
    classes = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).get("thing_classes", [])
    batches = chain.from_iterable(build_detection_train_loader(cfg))
    for number, sample in enumerate(islice(batches, num)):
        image = convert_image_to_rgb(sample["image"].permute(1, 2, 0), cfg.INPUT.FORMAT)[:, :, ::-1]
        annotations = [
            {"bbox": box.tolist(), "bbox_mode": BoxMode.XYXY_ABS, "category_id": int(category)}
            for box, category in zip(sample["instances"].gt_boxes.tensor, sample["instances"].gt_classes)
        ]
        drawn = draw_annotations(np.ascontiguousarray(image), annotations, classes)
        yield f"{number:04d}_{os.path.basename(sample['file_name'])}", drawn


def main(arguments: list[str] | None = None) -> None:
    """Parses the command line and writes the images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", choices=["annotation", "dataloader"], default="annotation")
    parser.add_argument("--dataset-name", nargs="+", default=["synthetic_scene_val"], help="for --source annotation")
    parser.add_argument("--config-file", help="for --source dataloader")
    parser.add_argument(
        "--import", dest="imports", action="append", default=[], metavar="FILE_OR_MODULE",
        help="import this first, e.g. what registers your data set; may be given several times",
    )  # fmt: skip
    parser.add_argument("--num", type=int, default=12, help="images of each data set")
    parser.add_argument("--output-dir", help="folder for one file per image")
    parser.add_argument("--montage", metavar="FILE", help="one file for all images")
    parser.add_argument("--columns", type=int, default=4, help="of the montage")
    parser.add_argument("--cell", type=int, nargs=2, default=(400, 300), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--quality", type=int, default=80, help="of the montage, if it is a JPEG")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="config options, for --source dataloader")
    args = parser.parse_args(arguments)
    register_datasets()
    if not (args.output_dir or args.montage):
        parser.error("say where to: --output-dir FOLDER, --montage FILE, or both")
    for name in args.imports:
        import_file_or_module(name)
    if args.source == "dataloader":
        if not args.config_file:
            parser.error("--source dataloader needs --config-file")
        drawn = list(from_dataloader(args.config_file, args.opts, args.num))
    else:
        drawn = [item for name in args.dataset_name for item in from_annotations(name, args.num)]
    if args.output_dir:
        os.makedirs(args.output_dir, exist_ok=True)
        for name, image in drawn:
            _write(os.path.join(args.output_dir, name), image)
    if args.montage:
        sheet = montage([image for _, image in drawn], args.columns, *args.cell)
        _write(args.montage, sheet, [cv2.IMWRITE_JPEG_QUALITY, args.quality])


def _write(path: str, image: np.ndarray, options=()) -> None:
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in (".jpg", ".jpeg", ".png"):
        sys.exit(f"an image's file must end in .jpg or .png; got {path}: give it such a name")
    with atomic_write(path, "wb") as file:
        file.write(cv2.imencode(suffix, image, list(options))[1].tobytes())
