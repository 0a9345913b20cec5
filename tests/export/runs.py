"""A small run with everything that exports meet: errors, missed objects, odd names, images without boxes, failures."""

import numpy as np
import torch
from PIL import Image

from odam_d2.store import AnnotationRow, DetectionRow, ImageRow, RunWriter, StoredImage
from odam_d2.structures import HeatMaps

CLASSES = ("cat", "=dog()", "ox")
CATEGORIES = [{"id": 7, "name": "=dog()"}, {"id": 3, "name": "cat"}, {"id": 90, "name": "ox"}]
SIZE = (48, 64)  # h, w of every image
ATTRIBUTES = ("score", "left")
FACTS = {"class_names": CLASSES, "categories": CATEGORIES, "method": "odam"}


def maps_of(boxes: int, seed: int, attributes=ATTRIBUTES) -> HeatMaps:
    """A window of 3 x 4 cells for each box, somewhere on a grid of 6 x 8 cells of 8 pixels."""
    random = np.random.default_rng(seed)
    windows = [(int(random.integers(0, 4)), int(random.integers(0, 5)), 3, 4) for _ in range(boxes)]
    return HeatMaps(
        torch.from_numpy(random.random((len(attributes), boxes * 12), dtype=np.float32)),
        torch.tensor(windows),
        torch.tensor([[6, 8]] * boxes),
        torch.full((boxes, 2), 8.0),
        attributes,
        SIZE,
        SIZE,
    )


def first_image(folder, **facts) -> StoredImage:
    """Two right detections, two errors and a missed object, which has a map as well; one detection has none."""
    rows = [
        DetectionRow((4.0, 6.0, 20.5, 30.25), 1, "=dog()", 0.9, annotation=1, iou=0.75, occlusion=0.125,
                     verdict="correct", outside=0.25,
                     figures={"neighbour": {"iou": 0.5, "label": "+ox"}, "ranks": [1, 2]}),
        DetectionRow((1 / 3, 2.0, 30.0, 40.0), 0, "cat", 0.8, annotation=0, iou=0.6, verdict="correct", outside=0.5,
                     figures={"sure": True, "mixed": 1}),
        DetectionRow((5.0, 6.0, 21.0, 29.0), 1, "=dog()", 0.4, annotation=1, iou=0.55, verdict="duplicate",
                     sentence="-a duplicate, \"of\" detection 0\nin two lines", figures={"mixed": 2.5}),
        DetectionRow((40.0, 20.0, 60.0, 44.0), 2, "ox", 0.3, verdict="background", outside=1.0,
                     figures={"mixed": float("nan")}),
        DetectionRow((30.0, 8.0, 50.0, 40.0), 2, "ox", None, "missed", annotation=2, mechanism="low_score",
                     outside=0.1),
    ]  # fmt: skip
    truth = [
        AnnotationRow((0.0, 2.0, 30.0, 40.0), 0, "cat", id=11),
        AnnotationRow((4.0, 6.0, 20.0, 30.0), 1, "=dog()", id="@12"),
        AnnotationRow((30.0, 8.0, 50.0, 40.0), 2, "ox"),
        AnnotationRow((0.0, 0.0, 64.0, 10.0), 2, "ox", True, 14),
    ]
    image = ImageRow(0, "key/0", "@näh er.png", str(folder / "images" / "@näh er.png"), SIZE, SIZE, facts=facts)
    maps = {
        ("odam", ""): ([0, 1, 2, 4], maps_of(4, 0)),
        ("gradcam", ""): ([0, 1], maps_of(2, 1, ("score",))),
        ("odam", "true class"): ([2], maps_of(1, 2)),
    }
    return StoredImage(image, truth, rows, maps)


def write_run(folder, ids: bool = True) -> None:
    """A run of five images below `folder`: ``run``, with ``images`` beside it. `ids`: whether it knows COCO's ids."""
    (folder / "images").mkdir()
    images = [
        first_image(folder, **({"image_id": 100} if ids else {"image_id": None})),
        StoredImage(_image(folder, 1, ids), [], []),
        StoredImage(ImageRow(2, "key/2", "2.png", str(folder / "2.png"), failure="it is no image")),
        StoredImage(
            _image(folder, 3, ids),
            None,
            [DetectionRow((0.0, 0.0, 8.0, 8.0), 0, "cat", 0.5)],
            {("odam", ""): ([0], maps_of(1, 3))},
        ),
        StoredImage(
            _image(folder, 4, ids),
            [AnnotationRow((1.0, 1.0, 9.0, 9.0), 0, "cat", id=15)],
            [DetectionRow((1.0, 1.0, 9.0, 9.0), 0, "cat", None, "annotation", annotation=0, iou=1.0)],
            {("odam", ""): ([0], maps_of(1, 4))},
        ),
    ]
    for one in images:
        if one.image.size is not None:
            values = np.full((*SIZE, 3), 40 * one.image.number, np.uint8)
            Image.fromarray(values).save(one.image.path)
    with RunWriter(folder / "run") as writer:
        for one in images:
            writer.write(one)
        writer.put_run(FACTS if ids else {"class_names": CLASSES})


def _image(folder, number: int, ids: bool) -> ImageRow:
    facts = {"image_id": 100 + number} if ids else {}
    return ImageRow(number, f"key/{number}", f"{number}.png", str(folder / "images" / f"{number}.png"), SIZE, SIZE,
                    facts=facts)  # fmt: skip
