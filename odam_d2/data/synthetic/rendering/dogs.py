"""Dogs in side view: standing, walking or sitting, with several builds and coats."""

import cv2
import numpy as np

from .board import NEUTRAL, Board, Sprite, oval, rounded, tube
from .textures import fractal_noise, hsv

_COATS = np.array(
    [
        [40, 70, 120],
        [70, 120, 180],
        [130, 185, 220],
        [35, 38, 42],
        [60, 62, 66],
        [225, 232, 238],
        [45, 60, 85],
        [120, 125, 130],
    ]
)


def _coat(rng, board, unit):
    """A coat texture: one colour with tufts, often with patches of a second one."""
    base = _COATS[rng.integers(len(_COATS))] * rng.uniform(0.85, 1.1)
    other = _COATS[rng.integers(len(_COATS))]
    rows, columns = board.shape
    unit, small = unit / 2, (rows // 2, columns // 2)
    tufts = 1 + 0.10 * fractal_noise(rng, *small, max(0.06 * unit, 2), octaves=3, persistence=0.8)
    color = np.broadcast_to(base.astype(np.float32), small + (3,))
    if rng.random() < 0.55:
        patches = fractal_noise(rng, *small, max(0.3 * unit, 4), octaves=2) * 8 - rng.uniform(-1, 3)
        color = color + np.clip(patches, 0, 1)[..., None] * (other - base).astype(np.float32)
    color = np.clip(color * tufts[..., None], 0, 255).astype(np.uint8)
    return cv2.resize(color, (columns, rows)), np.clip(base, 0, 255), np.clip(other, 0, 255)


def draw_dog(rng: np.random.Generator, scale: float) -> Sprite:
    """Draws one dog.

    Args:
        rng: numpy Generator; the dog is a function of its state.
        scale: image pixels per metre.

    Returns:
        A `Sprite`, standing on its anchor.
    """
    size = rng.uniform(0.62, 0.95) * scale  # one shoulder height in image pixels
    board = Board(1.4, 1.4, 1.55, 0.1, size)
    coat, base, other = _coat(rng, board, size * board.samples)
    flip = rng.choice([-1, 1])

    def at(u, v):
        return np.array([flip * u, v])

    length, girth = rng.uniform(0.46, 0.62), rng.uniform(0.15, 0.21)  # half the trunk's length; radius of the chest
    leg = rng.uniform(0.040, 0.058)
    sitting = rng.random() < 0.2
    shaggy = rng.random() < 0.35
    dark = (base * 0.72).astype(float)
    chest = at(length * 0.72, 0.80)
    rump = at(-length * 0.55, 0.42) if sitting else at(-length * 0.75, 0.82)
    stride = rng.uniform(0.0, 0.16)

    def leg_at(root, reach, hind, brush):
        foot = np.array([root[0] + flip * reach, 0.04])
        knee = np.array([(root[0] + foot[0]) / 2 + flip * (-0.07 if hind else 0.02), 0.36 if hind else 0.40])
        board.limb(foot, foot + at(0.06, -0.005), leg * 0.95, leg * 0.8, brush)
        board.limb(knee, foot, leg * 0.95, leg * 0.8, brush)
        board.limb(root, knee, girth * (0.62 if hind else 0.45), leg * 1.1, brush)

    tail_root = rump + at(-0.12, 0.06)
    lift = rng.uniform(-0.9, 1.2)
    middle = tail_root + at(-0.18 * np.cos(lift), 0.2 * np.sin(lift))
    tail = 0.055 if shaggy else 0.03
    board.limb(tail_root, middle, 0.045, tail, coat)
    board.limb(middle, middle + at(-0.10 * np.cos(lift + 0.7), 0.15 * np.sin(lift + 0.7)), tail, tail * 0.6, coat)
    front, back = chest + at(-0.02, -0.05), rump + at(0.02, -0.03)
    leg_at(front + at(0.02, 0), stride, False, dark)
    if not sitting:
        leg_at(back, stride * 0.9, True, dark)
    board.limb(rump, chest, girth * 0.92, girth, coat)
    if shaggy:
        for share in np.linspace(-0.1, 1, 12):
            root = rump + (chest - rump) * share
            board.limb(root, root + at(rng.uniform(-0.06, 0), -girth * rng.uniform(1.05, 1.3)), 0.08, 0.012, coat)
    if sitting:
        board.limb(rump + at(0.05, -0.14), at(-length * 0.2, 0.08), girth * 1.05, leg, coat)
        board.limb(at(-length * 0.3, 0.05), at(0.02, 0.04), leg, leg * 0.8, coat)
    else:
        leg_at(back + at(-0.02, 0), -stride, True, coat)
    leg_at(front, -stride, False, coat)
    _head(board, rng, at, chest, girth, coat, base, other)
    return board.finish(rng, softness=0.03, grain=8)


def _head(board, rng, at, chest, girth, coat, base, other):
    """Neck, skull, snout, ears, eye and collar."""
    skull = chest + at(rng.uniform(0.16, 0.27), rng.uniform(0.24, 0.36))
    drop = rng.uniform(-0.09, -0.03)
    muzzle = skull + at(rng.uniform(0.2, 0.29), drop)
    board.limb(chest + at(0, 0.02), skull, girth * 0.78, 0.105, coat)
    if rng.random() < 0.6:
        middle = chest + 0.62 * (skull - chest)
        across = np.array([-(skull - chest)[1], (skull - chest)[0]])
        across = across / np.linalg.norm(across) * 0.12
        board.fill(tube(middle - across, middle + across, 0.022, 0.022), hsv(rng.uniform(0, 360), 0.8, 0.75), NEUTRAL)
    board.limb(skull, skull + at(0.03, 0.01), 0.125, 0.115, coat)
    mask = other if rng.random() < 0.4 else base
    board.limb(skull + at(0.06, drop * 0.5), muzzle, 0.082, 0.052, mask)
    board.fill(oval(muzzle + at(0.045, 0.02), 0.028, 0.024), (22, 22, 26))
    board.fill(oval(skull + at(0.07, 0.035), 0.017, 0.016), (18, 20, 28), NEUTRAL)
    jaw = [
        muzzle + at(0.04, -0.03),
        skull + at(0.1, drop - 0.045),
        skull + at(0.1, drop - 0.035),
        muzzle + at(0.04, -0.02),
    ]
    board.mark(jaw, NEUTRAL - 80)
    if rng.random() < 0.5:  # hanging ears
        ear = [skull + at(-0.06, 0.09), skull + at(0.02, 0.09), skull + at(0.01, -0.10), skull + at(-0.07, -0.13)]
    else:
        ear = [skull + at(-0.10, 0.06), skull + at(0.02, 0.09), skull + at(-0.03, 0.26), skull + at(-0.08, 0.22)]
    board.fill(rounded(ear, 2), base * 0.7, NEUTRAL - 12)
