"""What the two kinds of synthetic images contain, and how many there are; nothing here draws."""

from dataclasses import dataclass

GENERATOR_VERSION = 1  # goes up with every change of the images, so that rendered folders are known to be stale
WIDTH, HEIGHT = 640, 480
SPLITS = {"train": 0, "val": 1, "demo": 2}


@dataclass(frozen=True)
class Profile:
    """What a kind of image contains.

    Attributes:
        ident: enters the random seed.
        thing_classes: class names in the order of `category_id`.
        box: annotation field that `bbox` repeats: "visible_box" or "full_box".
        least_visible: what shows a smaller share of itself is an ignore region.
        least_area: so is what shows fewer pixels.
        num_images: default number of images per split.
        evaluator_type: how detectors are scored on it, a name in `odam_d2.engine.evaluators`.
    """

    ident: int
    thing_classes: tuple[str, ...]
    box: str
    least_visible: float
    least_area: int
    num_images: dict[str, int]
    evaluator_type: str


PROFILES = {
    "scene": Profile(
        0,
        ("person", "dog", "car"),
        "visible_box",
        0.25,
        100,
        {"train": 1600, "val": 200, "demo": 6},
        "coco",
    ),
    "crowd": Profile(
        1,
        ("person",),
        "full_box",
        0.10,
        40,
        {"train": 1200, "val": 300, "demo": 6},
        "coco_and_crowd",
    ),
}
