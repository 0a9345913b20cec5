"""Who stands where: the layout of a street scene and of a crowd."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .board import Sprite
from .camera import Camera
from .cars import draw_car
from .dogs import draw_dog
from .furniture import draw_furniture
from .people import draw_person

# Rough size in metres (width, height) and range of pixels per metre, for planning before anything is drawn.
_PLAN = {"person": (0.6, 1.7, 30, 178), "dog": (1.25, 0.8, 48, 165), "car": (3.7, 1.5, 28, 105)}
_DRAW = {"person": draw_person, "dog": draw_dog, "car": draw_car}


@dataclass
class Item:
    """Something that stands in the image.

    Attributes:
        kind: "person", "dog", "car", "furniture" or "far_group" (people too small and too many to tell apart).
        sprite: its `Sprite`.
        x, y: image position of its ground point, pixels.
    """

    kind: str
    sprite: Sprite
    x: float
    y: float

    def box(self) -> tuple[int, int, int, int]:
        """(x1, y1, x2, y2) int pixel edges of the whole thing in the image frame, also beyond the image."""
        return self._shifted(self.sprite.tight_box)

    def head_box(self) -> tuple[int, int, int, int] | None:
        """As `box`, of the head; None for what has no head box."""
        return None if self.sprite.head is None else self._shifted(self.sprite.head)

    def _shifted(self, box):
        left, top = self.sprite.origin(self.x, self.y)
        return box[0] + left, box[1] + top, box[2] + left, box[3] + top


def intersection(a: Sequence[float], b: Sequence[float]) -> float:
    """Area common to two (x1, y1, x2, y2) boxes."""
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two (x1, y1, x2, y2) boxes."""
    common = intersection(a, b)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def visible_ids(items: list[Item], width: int, height: int) -> np.ndarray:
    """(height, width) int32: index of the item seen at each pixel, -1 for none; nearer items (larger y) hide others."""
    ids = np.full((height, width), -1, np.int32)
    for index in far_to_near(items):
        left, top = items[index].sprite.origin(items[index].x, items[index].y)
        covered = items[index].sprite.covered
        y1, x1 = max(top, 0), max(left, 0)
        part = covered[y1 - top : max(height - top, 0), x1 - left : max(width - left, 0)]
        ids[y1 : y1 + part.shape[0], x1 : x1 + part.shape[1]][part] = index
    return ids


def far_to_near(items: list[Item]) -> list[int]:
    """Indices of the items in the order in which they are painted."""
    return sorted(range(len(items)), key=lambda index: items[index].y)


def far_group(rng: np.random.Generator, camera: Camera, width: int) -> Item | None:
    """A dense, blurred group of tiny people near the horizon; None if the blur leaves nothing of it."""
    scale = rng.uniform(9, 14)
    figures = [draw_person(rng, scale) for _ in range(5)]
    count, step = int(rng.integers(8, 18)), scale * 0.36
    rows, columns = int(scale * 2.6), int(count * step + scale * 2)
    color: np.ndarray = np.zeros((rows, columns, 3), np.float32)
    alpha: np.ndarray = np.zeros((rows, columns), np.float32)
    for k in range(count):
        figure = figures[rng.integers(len(figures))]
        flip = slice(None, None, rng.choice([-1, 1]))
        h, w = figure.alpha.shape
        left, top = int(scale * 0.4 + k * step), rows - h - int(rng.uniform(0, 0.25 * scale))
        here = (slice(top, top + h), slice(left, left + w))
        cover = figure.alpha[:, flip][: alpha[here].shape[0], : alpha[here].shape[1]].astype(np.float32) / 255
        tone = figure.color[:, flip][: cover.shape[0], : cover.shape[1]].astype(np.float32)
        color[here] = color[here] * (1 - cover[..., None]) + tone
        alpha[here] = alpha[here] * (1 - cover) + cover
    color, alpha = (cv2.GaussianBlur(layer, (0, 0), 0.9) for layer in (color, alpha * 255))
    sprite = Sprite(color.astype(np.uint8), alpha.astype(np.uint8), (columns / 2, rows - 1))
    if sprite.tight_box is None:
        return None
    return Item("far_group", sprite, float(rng.uniform(0.1, 0.9) * width), float(camera.row(scale)))


def place_scene(rng: np.random.Generator, width: int, height: int) -> tuple[Camera, list[Item]]:
    """Lays out three to eight people, dogs and cars that hide each other only partly, with furniture around them.

    Returns:
        (camera, items).
    """
    for _ in range(8):
        camera, items = _try_scene(rng, width, height)
        if sum(share >= 0.3 for share in _shares(items, width, height)) >= 3:
            break
    return camera, items


def _shares(items, width, height):
    """Share of each person, dog and car that is seen, in [0, 1]."""
    counts = np.bincount(visible_ids(items, width, height).ravel() + 1, minlength=len(items) + 1)[1:]
    whole = [np.count_nonzero(item.sprite.covered) for item in items]
    return [count / total for count, total, item in zip(counts, whole, items) if item.kind in _DRAW]


def _try_scene(rng, width, height):
    camera = Camera(rng.uniform(130, 230), rng.uniform(1.6, 2.8), rng.uniform(450, 700), rng.uniform(-0.5, 0.5))
    plans = []
    wanted = int(rng.integers(3, 9))
    for _ in range(60):
        if len(plans) == wanted:
            break
        kind = str(rng.choice(["person", "dog", "car"], p=[0.46, 0.29, 0.25]))
        wide, tall, low, high = _PLAN[kind]
        scale = min(np.exp(rng.uniform(np.log(low), np.log(high))), camera.scale(height + 12))
        x, y = rng.uniform(0.02, 0.98) * width, camera.row(scale)
        box = (x - wide * scale / 2, y - tall * scale, x + wide * scale / 2, y)
        area = wide * tall * scale**2
        inside = intersection(box, (0, 0, width, height)) > 0.65 * area
        if scale >= low and inside and all(_tolerable(box, y, other, other_y) for _, other, other_y, _, _ in plans):
            plans.append((kind, box, y, x, scale))
    items = [Item(kind, _DRAW[kind](rng, scale), x, y) for kind, _, y, x, scale in plans]
    _furnish(rng, camera, items, int(rng.integers(0, 5)), width, height)
    if rng.random() < 0.3:
        items.append(far_group(rng, camera, width))
    return camera, [item for item in items if item is not None]


def _tolerable(box, y, other, other_y):
    """Whether the farther of two planned boxes keeps more than half of its area."""
    farther = box if y < other_y else other
    return intersection(box, other) < 0.48 * (farther[2] - farther[0]) * (farther[3] - farther[1])


def _furnish(rng, camera, items, count, width, height):
    """Adds furniture that hides at most a good part of anything."""
    boxes = [(item.box(), item.y) for item in items]
    for _ in range(count):
        scale = min(np.exp(rng.uniform(np.log(22), np.log(130))), camera.scale(height - 5))
        piece = Item("furniture", draw_furniture(rng, scale), rng.uniform(0, 1) * width, camera.row(scale))
        mine = piece.box()
        hidden = [intersection(mine, b) / ((b[2] - b[0]) * (b[3] - b[1])) for b, y in boxes if y < piece.y]
        if max(hidden, default=0) < 0.4:
            items.append(piece)


def place_crowd(rng: np.random.Generator, width: int, height: int, least_pairs: int = 2) -> tuple[Camera, list[Item]]:
    """Lays out 12 to 30 people in groups, with at least `least_pairs` pairs whose whole boxes overlap by IoU > .5.

    Returns:
        (camera, items).
    """
    camera = Camera(rng.uniform(60, 150), rng.uniform(2.2, 3.8), rng.uniform(450, 700), rng.uniform(-0.5, 0.5))
    wanted = int(np.clip(round(rng.normal(22, 4.5)), 13, 30))
    low, high = camera.row(27), height + 22
    items: list[Item] = []
    while len(items) < wanted:
        x, y = rng.uniform(0.02, 0.98) * width, low + (high - low) * rng.uniform(0, 1) ** 1.4
        for _ in range(min(int(rng.integers(1, 7)), wanted - len(items))):
            scale = camera.scale(y)
            foot = float(np.clip(y + rng.normal(0, 0.16) * scale, low, high))
            place = float(np.clip(x + rng.normal(0, 0.62) * scale, 5, width - 5))
            items.append(Item("person", draw_person(rng, camera.scale(foot)), place, foot))
    _furnish(rng, camera, items, int(rng.integers(0, 4)), width, height)
    if rng.random() < 0.5:
        group = far_group(rng, camera, width)
        items += [] if group is None else [group]
    for attempt in range(16):
        if len(overlapping_pairs(items, width, height)) >= least_pairs:
            break
        _add_partner(rng, items, attempt >= 8, width, height)
    return camera, items


def overlapping_pairs(
    items: list[Item], width: int, height: int, threshold: float = 0.5, least_visible: float = 0.15
) -> list[tuple[int, int]]:
    """Index pairs of people with IoU of whole boxes > `threshold` of whom both show `least_visible` of themselves."""
    counts = np.bincount(visible_ids(items, width, height).ravel() + 1, minlength=len(items) + 1)[1:]
    seen = [
        index
        for index, item in enumerate(items)
        if item.kind == "person" and counts[index] > least_visible * np.count_nonzero(item.sprite.covered)
    ]
    boxes = {index: items[index].box() for index in seen}
    return [(i, j) for i in seen for j in seen if i < j and iou(boxes[i], boxes[j]) > threshold]


def _add_partner(rng, items, in_front, width, height):
    """Sets a mirrored double, whose box is known beforehand, beside somebody; `in_front` brings both to the fore."""
    people = [item for item in items if item.kind == "person" and 0.1 * width < item.x < 0.9 * width]
    chosen = people[rng.integers(len(people))] if people else next(item for item in items if item.kind == "person")
    if in_front:
        chosen.x, chosen.y = rng.uniform(0.15, 0.85) * width, max(item.y for item in items) + 1
    sprite, wide = chosen.sprite, chosen.sprite.alpha.shape[1]
    x1, _, x2, _ = sprite.tight_box
    left, top, right, bottom = sprite.head
    mirrored = Sprite(
        np.ascontiguousarray(sprite.color[:, ::-1]),
        np.ascontiguousarray(sprite.alpha[:, ::-1]),
        (wide - sprite.anchor[0], sprite.anchor[1]),
        (wide - right, top, wide - left, bottom),
    )
    shift = rng.choice([-1, 1]) * rng.uniform(0.16, 0.27) * (x2 - x1)
    # the mirrored body lies on the other side of its ground point; bring the two boxes over each other first
    offset = 2 * ((x1 + x2) / 2 - sprite.anchor[0])
    items.append(Item("person", mirrored, chosen.x + offset + shift, chosen.y + 0.5))
