"""Backgrounds without objects: sky, buildings or trees at the horizon, and a textured ground in perspective."""

import cv2
import numpy as np

from .camera import Camera
from .textures import fractal_noise, hsv, tinted

_TILE = 384  # pixels of the square ground texture, which repeats
_TILE_SCALE = 48  # texture pixels per metre
# Ground and the bands across it: roads of a street, paths of a park.
_SURFACES = {
    "street": ("paving", "asphalt"),
    "plaza": ("paving", "paving"),
    "park": ("grass", "paving"),
    "hall": ("floor", "floor"),
}


def draw_background(rng: np.random.Generator, camera: Camera, width: int, height: int) -> np.ndarray:
    """Draws a street, a plaza, a park or a hall.

    Args:
        rng: numpy Generator.
        camera: `Camera` that the ground follows.
        width, height: image size in pixels.

    Returns:
        (height, width, 3) uint8 BGR.
    """
    kind = rng.choice(["street", "plaza", "park", "hall"], p=[0.4, 0.25, 0.25, 0.1])
    base = int(camera.horizon + rng.uniform(4, 12))
    image = _sky(rng, base, width, height) if kind != "hall" else _wall(rng, base, width, height)
    if kind in ("street", "plaza"):
        if rng.random() < 0.4:
            _trees(rng, image, base, camera, 0.8)
        _buildings(rng, image, base, camera)
    if kind == "park" or rng.random() < 0.3 and kind != "hall":
        _trees(rng, image, base, camera, 1.6 if kind == "park" else 0.5)
    image[base:] = _ground(rng, kind, camera, base, width, height)
    return image


def _sky(rng, base, width, height):
    top = hsv(rng.normal(210, 8), rng.uniform(0.05, 0.6), rng.uniform(0.6, 0.95)).astype(np.float32)
    low = 0.4 * top + np.array([141, 138, 135], np.float32) * np.float32(rng.uniform(0.8, 1.05))
    ramp = np.linspace(0, 1, base, dtype=np.float32)[:, None, None]
    clouds = np.clip(fractal_noise(rng, base, width, rng.uniform(80, 220)) * 1.6, 0, 1)[..., None]
    clouds = clouds * np.float32(rng.uniform(0, 60))
    image = np.zeros((height, width, 3), np.uint8)
    sky = top * (1 - ramp) + low * ramp + clouds
    image[:base] = np.clip(sky, 0, 255)
    return image


def _wall(rng, base, width, height):
    """The far wall of a hall: panels, posts and lamps."""
    color = hsv(rng.uniform(15, 60), rng.uniform(0.05, 0.3), rng.uniform(0.5, 0.9))
    image = np.zeros((height, width, 3), np.uint8)
    shade = 0.75 + 0.25 * np.linspace(0, 1, base, dtype=np.float32)[:, None]
    shade = shade + 0.04 * fractal_noise(rng, base, width, 120)
    image[:base] = np.clip(color * shade[..., None], 0, 255)
    x = -rng.uniform(0, 60)
    while x < width:
        step = rng.uniform(60, 160)
        inner = hsv(rng.uniform(0, 360), rng.uniform(0.1, 0.6), rng.uniform(0.2, 0.9))
        if rng.random() < 0.5:
            top = int(base * rng.uniform(0.2, 0.5))
            cv2.rectangle(image, (int(x + 12), top), (int(x + step - 12), int(base * 0.98)), inner.tolist(), -1)
            cv2.line(image, (int(x + step / 2), top), (int(x + step / 2), base), (color * 0.7).tolist(), 2)
        cv2.rectangle(image, (int(x), 0), (int(x + 8), base), (color * 0.8).tolist(), -1)
        x += step
    for x in range(int(rng.uniform(0, 60)), width, 90):
        cv2.rectangle(image, (x, 8), (x + 50, 14), (250, 252, 255), -1)
    return image


def _buildings(rng, image, base, camera):
    """A row of houses with windows and shop fronts; the far haze takes some of their contrast."""
    width = image.shape[1]
    layer = image[:base].copy()
    story = camera.focal / rng.uniform(22, 45) * 3.2  # pixels per floor: houses stand 22 to 45 metres away
    x = -rng.uniform(0, 80)
    while x < width:
        wide = rng.uniform(70, 210)
        if rng.random() < 0.9:
            floors = rng.integers(2, 9)
            top = max(int(base - floors * story), -20)
            _house(rng, layer, int(x), int(x + wide), top, base, story)
        x += wide
    haze = rng.uniform(0.05, 0.3)
    noise = fractal_noise(rng, base, width, 40, octaves=5, persistence=0.8)[..., None] * 7
    mean = np.array([205, 200, 195], np.float32) * np.float32(haze)
    touched = (layer != image[:base]).any(axis=2, keepdims=True)
    layer = np.clip(layer * np.float32(1 - haze) + mean + noise, 0, 255).astype(np.uint8)
    np.copyto(image[:base], layer, where=touched)


def _house(rng, layer, left, right, top, base, story):
    color = hsv(rng.normal(28, 15) % 360, rng.uniform(0.05, 0.55), rng.uniform(0.4, 0.9))
    glass = hsv(rng.normal(210, 15), rng.uniform(0.1, 0.4), rng.uniform(0.2, 0.6))
    cv2.rectangle(layer, (left, top), (right, base), color.tolist(), -1)
    cv2.rectangle(layer, (left, top), (right, top + max(int(story * 0.12), 2)), (color * 0.7).tolist(), -1)
    columns = max(int((right - left) / (story * rng.uniform(0.5, 0.9))), 1)
    pitch = (right - left) / columns
    inset, tall = pitch * rng.uniform(0.15, 0.3), story * rng.uniform(0.45, 0.65)
    row = base - story
    while row > top + story * 0.3:
        for k in range(columns):
            x1, x2 = int(left + k * pitch + inset), int(left + (k + 1) * pitch - inset)
            y1 = int(row - tall - 0.2 * story)
            shade = glass * rng.uniform(0.7, 1.3)
            cv2.rectangle(layer, (x1, y1), (x2, int(y1 + tall)), np.clip(shade, 0, 255).tolist(), -1)
            cv2.line(layer, (x1, int(y1 + tall)), (x2, int(y1 + tall)), (color * 1.1).clip(0, 255).tolist(), 2)
        row -= story
    if rng.random() < 0.6:  # shop front with an awning
        front = hsv(rng.uniform(0, 360), rng.uniform(0.3, 0.8), rng.uniform(0.3, 0.8))
        y1 = int(base - story * 0.95)
        cv2.rectangle(layer, (left + 4, y1), (right - 4, base), (glass * 0.6).tolist(), -1)
        cv2.rectangle(layer, (left + 2, y1), (right - 2, int(y1 + story * 0.25)), front.tolist(), -1)
        for _ in range(rng.integers(1, 5)):
            x = int(rng.integers(left, right))
            item = hsv(rng.uniform(0, 360), rng.uniform(0.1, 0.8), rng.uniform(0.2, 0.9)).tolist()
            cv2.rectangle(layer, (x, int(base - story * rng.uniform(0.3, 0.6))), (x + int(story * 0.2), base), item, -1)


def _trees(rng, image, base, camera, tall):
    """A line of foliage on the horizon, `tall` times a storey high."""
    width = image.shape[1]
    outline = fractal_noise(rng, 1, width, 90, octaves=6, persistence=0.75)[0]
    height = (outline * 0.7 + 1.0) * tall * camera.focal / 40 * 3.2
    leaves = fractal_noise(rng, base, width, 26, octaves=4, persistence=0.9)
    rows = np.arange(base, dtype=np.float32)[:, None]
    mask = (base - rows) < height + leaves * 6
    color = hsv(rng.normal(95, 15), rng.uniform(0.3, 0.6), rng.uniform(0.25, 0.55))
    light = 0.9 + 0.35 * leaves + 0.3 * np.clip((base - rows) / np.maximum(height, 1), 0, 1)
    shaded = tinted(color, light)
    np.copyto(image[:base], np.clip(shaded, 0, 255).astype(np.uint8), where=mask[..., None])


def _ground_tile(rng, kind):
    """A square patch of ground seen from above: (_TILE, _TILE, 3) float32, repeats without much of a seam."""
    fine = rng.standard_normal((_TILE, _TILE), dtype=np.float32)
    fine = cv2.GaussianBlur(fine, (0, 0), 0.8) * 1.8
    rough = fractal_noise(rng, _TILE, _TILE, 96, octaves=4)
    if kind == "grass":
        color = hsv(rng.normal(90, 12), rng.uniform(0.35, 0.6), rng.uniform(0.4, 0.65))
        return tinted(color, 1 + 0.12 * fine + 0.12 * rough)
    if kind == "asphalt":
        color = hsv(210, rng.uniform(0, 0.08), rng.uniform(0.28, 0.5))
        return tinted(color, 1 + 0.07 * fine + 0.08 * rough)
    if kind == "floor":
        color = hsv(rng.uniform(20, 50), rng.uniform(0, 0.2), rng.uniform(0.5, 0.85))
        tile = tinted(color, 1 + 0.015 * fine + 0.04 * rough)
    else:
        color = hsv(rng.uniform(10, 50), rng.uniform(0.02, 0.25), rng.uniform(0.4, 0.75))
        tile = tinted(color, 1 + 0.05 * fine + 0.06 * rough)
    rows, columns = rng.choice([8, 12, 16, 24], 2)
    tone = rng.uniform(0.88, 1.12, (rows, columns)).astype(np.float32)
    tone = cv2.resize(tone, (_TILE, _TILE), interpolation=cv2.INTER_NEAREST)
    joint = np.zeros((_TILE, _TILE), np.float32)
    for k in range(rows):
        y, shift = k * _TILE // rows, (k % 2) * _TILE // columns // 2
        joint[y : y + 2] = 1
        for j in range(columns):
            x = j * _TILE // columns + shift
            joint[y : y + _TILE // rows, x : x + 2] = 1
    return tile * cv2.cvtColor(tone * (1 - np.float32(0.3) * joint), cv2.COLOR_GRAY2BGR)


def _project(tile, across, along, blend):
    """Samples a repeating ground tile; far away, where it would flicker, it fades to its mean colour."""
    sampled = cv2.remap(
        tile,
        np.mod(across * _TILE_SCALE, _TILE).astype(np.float32),
        np.mod(along * _TILE_SCALE, _TILE).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    return _mixed(sampled, tile.mean(axis=(0, 1)), blend)


def _mixed(image, color, share, rest=None):
    """`image` by `share` and `color` by the rest; image (H, W, 3), color (3,), shares (H, 1, 1), all float32."""
    rest = 1 - share if rest is None else rest
    height, width, _ = image.shape
    flat = np.tile(color, width)[None, :] * rest[:, :, 0]  # long rows: numpy is slow on a last axis of three
    return image * share + flat.reshape(height, width, 3)


def _ground(rng, kind, camera, base, width, height):
    rows = np.arange(base, height, dtype=np.float32)[:, None]
    columns = np.arange(width, dtype=np.float32)[None, :]
    across, along = camera.ground(rows, columns, width)
    across, along = across + np.float32(rng.uniform(0, 50)), along + np.float32(rng.uniform(0, 50))
    blend = np.clip((rows - camera.horizon) / camera.height / 22, 0, 1)[..., None]
    first, second = _SURFACES[kind]
    ground = _project(_ground_tile(rng, first), across, along, blend)
    if kind in ("street", "park") or rng.random() < 0.3:
        period, share = rng.uniform(11, 26), rng.uniform(0.3, 0.6)
        bend = 1.5 * np.sin(along / rng.uniform(4, 9)) if kind == "park" else 0
        place = np.mod(across + bend, period)
        band = place < period * share
        np.copyto(ground, _project(_ground_tile(rng, second), across, along, blend), where=band[..., None])
        if kind == "street":
            _road_marks(rng, ground, place, along, period * share, blend)
    ground += cv2.cvtColor(fractal_noise(rng, height - base, width, 160, octaves=3) * 9, cv2.COLOR_GRAY2BGR)
    haze = np.clip(1 - (rows - camera.horizon) / 60, 0, 1)[..., None] * np.float32(0.35)
    ground = _mixed(ground, np.array([200, 198, 195], np.float32), 1 - haze, haze)
    return np.clip(ground, 0, 255, out=ground).astype(np.uint8)


def _road_marks(rng, ground, place, along, road, blend):
    """Kerb, lane line and now and then a zebra crossing, in the road's own coordinates."""
    kerb = (place < 0.18) | (np.abs(place - road) < 0.18)
    np.copyto(ground, np.array([175, 178, 180], np.float32), where=kerb[..., None])
    paint = np.array([225, 230, 232], np.float32) * rng.uniform(0.8, 1)
    lane = (np.abs(place - road / 2) < 0.09) & (np.mod(along, 4) < 2.2)
    if rng.random() < 0.5:
        start = rng.uniform(0, 20)
        lane |= (np.mod(along - start, 26) < 3.2) & (np.mod(place, 1.0) < 0.5) & (place > 0.4) & (place < road - 0.4)
    strength = np.broadcast_to(0.35 + 0.5 * blend, (*lane.shape, 1))[lane]
    ground[lane] += (paint - ground[lane]) * strength
