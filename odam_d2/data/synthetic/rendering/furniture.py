"""Street furniture: what hides parts of people, dogs and cars, and what a detector must not take for them."""

import numpy as np

from .board import NEUTRAL, Board, Sprite, oval, rounded, tube
from .textures import fractal_noise, hsv

_METAL = np.array([70.0, 70.0, 68.0])


def draw_furniture(rng: np.random.Generator, scale: float) -> Sprite:
    """Draws one piece of street furniture.

    Args:
        rng: numpy Generator; the piece is a function of its state.
        scale: image pixels per metre.

    Returns:
        A `Sprite`, standing on its anchor.
    """
    pieces = [_lamp, _bench, _bollard, _tree, _bin, _sign, _bush, _crate, _hydrant, _parasol]
    weights = np.array([2, 1.5, 1.5, 1.5, 1.5, 1.5, 1.2, 1, 1, 1])
    piece = pieces[rng.choice(len(pieces), p=weights / weights.sum())]
    return piece(rng, scale)


def _lamp(rng, scale):
    board = Board(0.8, 0.8, 4.6, 0.1, scale)
    color = _METAL * rng.uniform(0.5, 1.8)
    board.limb([0, 0.5], [0, 4.0], 0.07, 0.05, color)
    board.limb([0, 0.0], [0, 0.5], 0.13, 0.10, color)
    if rng.random() < 0.5:
        board.limb([0, 4.0], [0.6, 4.3], 0.04, 0.035, color)
        board.fill(rounded([[0.45, 4.35], [0.78, 4.35], [0.75, 4.2], [0.45, 4.2]]), (215, 235, 240), NEUTRAL)
    else:
        board.limb([0, 4.2], [0, 4.25], 0.22, 0.2, (215, 235, 240))
    return board.finish(rng)


def _bench(rng, scale):
    board = Board(1.0, 1.0, 1.0, 0.1, scale)
    wood, metal = hsv(28, rng.uniform(0.3, 0.6), rng.uniform(0.3, 0.7)), _METAL * rng.uniform(0.5, 1.3)
    for u in (-0.72, 0.72):
        board.limb([u, 0.0], [u, 0.85], 0.035, 0.03, metal)
        board.limb([u * 1.08, 0.0], [u * 1.08, 0.42], 0.035, 0.03, metal)
    for v in (0.42, 0.56, 0.68, 0.80):
        board.limb([-0.85, v], [0.85, v], 0.045, 0.045, wood * rng.uniform(0.9, 1.05), light=(0, 0.7))
    return board.finish(rng)


def _bollard(rng, scale):
    board = Board(0.25, 0.25, 1.1, 0.1, scale)
    color = hsv(rng.uniform(0, 360), rng.choice([0.05, 0.7]), rng.uniform(0.2, 0.7))
    board.limb([0, 0.05], [0, 0.85], 0.10, 0.085, color)
    board.fill([[-0.09, 0.66], [0.09, 0.66], [0.09, 0.76], [-0.09, 0.76]], (220, 225, 230), NEUTRAL)
    return board.finish(rng)


def _leaf_texture(rng, board, cell):
    color = hsv(rng.normal(95, 18), rng.uniform(0.35, 0.65), rng.uniform(0.3, 0.6))
    noise = fractal_noise(rng, *board.shape, max(cell * board.scale * board.samples, 3), octaves=4, persistence=0.85)
    return np.clip(color * (0.95 + 0.4 * noise)[..., None], 0, 255).astype(np.uint8)


def _tree(rng, scale):
    board = Board(1.5, 1.5, 4.2, 0.1, scale)
    bark = hsv(25, rng.uniform(0.2, 0.4), rng.uniform(0.2, 0.4))
    leaves = _leaf_texture(rng, board, 0.3)
    board.limb([0, 0], [rng.uniform(-0.1, 0.1), 2.7], rng.uniform(0.14, 0.2), 0.10, bark)
    for side in (-1, 1):
        board.limb([0, 2.2], [side * 0.7, 3.1], 0.07, 0.04, bark)
    for _ in range(16):
        angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.8)
        center = np.array([radius * np.cos(angle), 3.2 + 0.55 * radius * np.sin(angle)])
        board.limb(center, center + [0.05, 0], rng.uniform(0.25, 0.5), 0.3, leaves)
    return board.finish(rng, softness=0.08, grain=14)


def _bush(rng, scale):
    board = Board(1.0, 1.0, 1.4, 0.1, scale)
    leaves = _leaf_texture(rng, board, 0.2)
    for _ in range(14):
        center = np.array([rng.uniform(-0.6, 0.6), rng.uniform(0.2, 0.75)])
        board.limb(center, center + [0.04, 0], rng.uniform(0.18, 0.3), 0.2, leaves)
    return board.finish(rng, softness=0.06, grain=14)


def _bin(rng, scale):
    board = Board(0.5, 0.5, 1.2, 0.1, scale)
    color = hsv(rng.choice([100, 140, 210, 0, 40]), rng.uniform(0.1, 0.7), rng.uniform(0.25, 0.6))
    board.limb([0, 0.06], [0, 0.82], 0.24, 0.29, color)
    board.fill(rounded([[-0.3, 0.06], [0.3, 0.06], [0.26, -0.03], [-0.26, -0.03]], 1), color * 0.6, NEUTRAL - 30)
    board.fill(oval([0, 0.98], 0.29, 0.09), color * 0.7, NEUTRAL)
    board.fill(oval([0, 0.97], 0.2, 0.05), (20, 20, 20), NEUTRAL)
    return board.finish(rng)


def _sign(rng, scale):
    board = Board(0.7, 0.7, 2.7, 0.1, scale)
    color = hsv(rng.choice([0, 210, 50, 120]), rng.uniform(0.5, 0.9), rng.uniform(0.5, 0.9))
    board.limb([0, 0], [0, 2.5], 0.035, 0.035, _METAL * 1.5)
    if rng.random() < 0.5:
        board.fill(oval([0, 2.2], 0.36, 0.36), color, NEUTRAL)
        board.fill(oval([0, 2.2], 0.28, 0.28), (235, 238, 240), NEUTRAL)
        board.fill(tube([-0.12, 2.2], [0.12, 2.2], 0.05, 0.05), (40, 40, 40), NEUTRAL)
    else:
        low = rng.uniform(0.7, 1.4)
        board.fill([[-0.5, low], [0.5, low], [0.5, 2.4], [-0.5, 2.4]], color, NEUTRAL)
        for v in np.arange(low + 0.2, 2.3, 0.22):
            board.fill(tube([-0.38, v], [rng.uniform(0, 0.38), v], 0.03, 0.03), (235, 238, 240), NEUTRAL)
    return board.finish(rng)


def _crate(rng, scale):
    board = Board(0.7, 0.7, 1.4, 0.1, scale)
    wood = hsv(rng.uniform(20, 40), rng.uniform(0.2, 0.6), rng.uniform(0.4, 0.8))
    tall, half = rng.uniform(0.4, 1.1), rng.uniform(0.25, 0.5)
    board.fill([[-half, 0], [half, 0], [half, tall], [-half, tall]], wood, NEUTRAL - 20)
    board.fill([[-half, tall], [half, tall], [half + 0.1, tall + 0.14], [-half + 0.1, tall + 0.14]], wood, NEUTRAL + 20)
    for v in np.arange(0.12, tall, 0.16):
        board.line([-half, v], [half, v], 0.02, wood * 0.6)
    return board.finish(rng)


def _hydrant(rng, scale):
    board = Board(0.4, 0.4, 1.0, 0.1, scale)
    color = hsv(rng.choice([0, 5, 48]), 0.8, rng.uniform(0.55, 0.85))
    board.limb([0, 0.05], [0, 0.6], 0.13, 0.11, color)
    board.limb([-0.2, 0.45], [0.2, 0.45], 0.06, 0.06, color)
    board.limb([0, 0.62], [0, 0.72], 0.14, 0.07, color)
    return board.finish(rng)


def _parasol(rng, scale):
    board = Board(1.4, 1.4, 2.7, 0.1, scale)
    color = hsv(rng.uniform(0, 360), rng.uniform(0.3, 0.85), rng.uniform(0.5, 0.9))
    board.limb([0, 0], [0, 2.4], 0.035, 0.03, _METAL * 1.8)
    corners = np.linspace(-1.25, 1.25, 6)
    for k, (u1, u2) in enumerate(zip(corners[:-1], corners[1:])):
        brush = color if k % 2 else np.array([225.0, 228.0, 230.0])
        board.fill([[0, 2.62], [u1, 2.05], [u2, 2.05]], brush, NEUTRAL - 16 + 8 * (k % 3))
    board.limb([0, 0.0], [0, 0.06], 0.3, 0.2, _METAL)
    return board.finish(rng)
