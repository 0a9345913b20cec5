"""Seeded synthetic images of streets and crowds, as Detectron2 dicts.

Two profiles, both 640 x 480:

- `scene`: three to eight people, dogs and cars (3 classes), moderate overlaps. `bbox` is the box of what is visible,
  as in COCO.
- `crowd`: people only, about 20 in an image, at least two pairs with an IoU of whole boxes above .5. `bbox` is the
  box of the whole body, which may go beyond the image, as in CrowdHuman.

Every image is a function of (seed, profile, split, index): neither order nor number of the images matters.
"""

import numpy as np
from detectron2.structures import BoxMode
from pycocotools import mask as mask_util

from .profiles import HEIGHT, PROFILES, SPLITS, WIDTH, Profile
from .rendering.backgrounds import draw_background
from .rendering.board import tight_box
from .rendering.canvas import Canvas
from .rendering.photometry import photograph
from .rendering.placement import Item, far_to_near, place_crowd, place_scene, visible_ids

# What lays an image of each profile out: functions of (rng, width, height).
_PLACE = {"scene": place_scene, "crowd": place_crowd}


class SyntheticScenes:
    """A sequence of synthetic images, drawn when they are asked for.

    Args:
        profile: "scene" or "crowd".
        split: "train", "val" or "demo"; splits share no image.
        num_images: length; the profile's default when None.
        seed: another seed, other images.

    `scenes[i]` is `(image, record)`: image (480, 640, 3) uint8 BGR; record a Detectron2 dict without `file_name`, with
    `height`, `width`, `image_id` (= i) and `annotations`. Each annotation holds

    - `bbox`, `bbox_mode` (XYXY_ABS), `category_id`, `iscrowd` (1: ignore region), `segmentation` (RLE of what is seen);
    - `full_box`, `visible_box`, `head_box` (None but for people), XYXY pixel edges in the image frame, and
      `visible_fraction`, the share of the whole object's pixels that is seen.
    """

    def __init__(self, profile: str, split: str, num_images: int | None = None, seed: int = 0):
        if profile not in PROFILES:
            raise ValueError(f"`profile` must be one of {sorted(PROFILES)}; got {profile!r}: choose one")
        if split not in SPLITS:
            raise ValueError(f"`split` must be one of {sorted(SPLITS)}; got {split!r}: choose one")
        self.profile, self.split, self.seed = profile, split, seed
        self.num_images = PROFILES[profile].num_images[split] if num_images is None else num_images
        if self.num_images < 1:
            raise ValueError(f"`num_images` must be at least 1; got {num_images}: leave it out for the usual number")

    @property
    def thing_classes(self) -> list[str]:
        """Class names in the order of `category_id`."""
        return list(PROFILES[self.profile].thing_classes)

    def __len__(self) -> int:
        return self.num_images

    def __getitem__(self, index: int) -> tuple[np.ndarray, dict]:
        if not 0 <= index < self.num_images:
            raise IndexError(f"`index` must be in [0, {self.num_images}); got {index}")
        profile = PROFILES[self.profile]
        rng = np.random.default_rng([self.seed, profile.ident, SPLITS[self.split], index])
        camera, items = _PLACE[self.profile](rng, WIDTH, HEIGHT)
        image = _paint(rng, camera, items)
        record = {"height": HEIGHT, "width": WIDTH, "image_id": index, "annotations": _annotate(profile, items)}
        return image, record


def _paint(rng, camera, items):
    """Background, then every item with its shadow from far to near, then the photograph."""
    canvas = Canvas(draw_background(rng, camera, WIDTH, HEIGHT))
    strength = rng.uniform(0.25, 0.55)
    slant = (rng.uniform(-1.2, 1.2), rng.uniform(0.12, 0.3)) if rng.random() < 0.5 else None
    haze = rng.uniform(0, 0.25)
    order = far_to_near(items)
    for index in order:
        canvas.shadow(items[index].sprite, items[index].x, items[index].y, strength, slant)
    for index in order:
        item = items[index]
        distance = np.clip(1 - camera.scale(item.y) / 60, 0, 1)
        canvas.paint(item.sprite, item.x, item.y, haze * distance)
    return photograph(rng, canvas.image)


def _annotate(profile: Profile, items: list[Item]) -> list[dict]:
    """Annotations of all items that are seen and have a class, in the order of the items."""
    ids = visible_ids(items, WIDTH, HEIGHT)
    annotations = []
    for index, item in enumerate(items):
        kind = "person" if item.kind == "far_group" else item.kind
        if kind not in profile.thing_classes:
            continue
        mask = ids == index
        visible = tight_box(mask)
        if visible is None:
            continue
        area = int(np.count_nonzero(mask))
        fraction = area / int(np.count_nonzero(item.sprite.covered))
        ignore = item.kind == "far_group" or fraction < profile.least_visible or area < profile.least_area
        rle = mask_util.encode(np.asfortranarray(mask.astype(np.uint8)))
        boxes = {"full_box": _floats(item.box()), "visible_box": _floats(visible), "head_box": _floats(item.head_box())}
        annotations.append(
            {
                "bbox": list(boxes[profile.box]),
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": profile.thing_classes.index(kind),
                "segmentation": {"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode("ascii")},
                "iscrowd": int(ignore),
                **boxes,
                "visible_fraction": round(fraction, 4),
            }
        )
    return annotations


def _floats(box):
    return None if box is None else [float(value) for value in box]
