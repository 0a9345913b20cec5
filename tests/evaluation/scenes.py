"""Hand-made maps of an image of 4 x 4 pixels with two objects, whose every number is known."""

import torch
from detectron2.structures import Boxes, BoxMode, Instances

from odam_d2.structures import HeatMaps

# Object 0 in the upper left, object 1 in the lower right; each mask is one pixel of its box.
BOXES = [[0.0, 0.0, 2.0, 2.0], [2.0, 2.0, 4.0, 4.0]]
MASKS = [{"size": [4, 4], "counts": [0, 1, 15]}, {"size": [4, 4], "counts": [15, 1]}]


def record(image_id=7, masks=True, boxes=BOXES):
    items = [
        {"id": 10 + k, "bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0} for k, box in enumerate(boxes)
    ]
    for item, mask in zip(items, MASKS if masks else ()):
        item["segmentation"] = mask
    return {"file_name": f"{image_id}.png", "image_id": image_id, "height": 4, "width": 4, "annotations": items}


def heatmaps(*images):
    """Maps whose cells are the pixels: lists of 4 x 4 numbers."""
    values = torch.tensor(images, dtype=torch.float32).view(len(images), 16).reshape(1, -1)
    count = len(images)
    return HeatMaps(
        values, torch.tensor([[0, 0, 4, 4]]).repeat(count, 1), torch.tensor([[4, 4]]).repeat(count, 1),
        torch.ones(count, 2), ("score",), (4, 4), (4, 4),
    )  # fmt: skip


def delta(y, x):
    image = torch.zeros(4, 4)
    image[y, x] = 2.0
    return image.tolist()


UNIFORM = torch.ones(4, 4).tolist()


def output(methods, boxes=BOXES, scores=(0.9, 0.8)):
    """What a comparison gives: two detections, right on the objects, and maps by method."""
    found = Instances(
        (4, 4),
        pred_boxes=Boxes(torch.tensor(boxes).view(-1, 4)),
        scores=torch.tensor(scores),
        pred_classes=torch.zeros(len(boxes), dtype=torch.int64),
    )
    return {"instances": found, "heatmaps": {name: heatmaps(*maps) for name, maps in methods.items()}}


def entry(image_id=7):
    return {"image": torch.full((3, 4, 4), 100.0), "image_id": image_id, "height": 4, "width": 4}
