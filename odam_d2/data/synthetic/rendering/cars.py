"""Cars in side view with a sheared front (three-quarter view), and cars seen from the front or from behind."""

import numpy as np

from .board import NEUTRAL, Board, Sprite, oval, rounded
from .textures import hsv

_GLASS = np.array([95.0, 80.0, 68.0])
_TYRE = (32, 30, 30)

# Roof lines in units of the length: (u, v) with v in metres, from the rear bumper over the roof to the front bumper.
_BODIES = {
    "sedan": [
        (0.0, 0.55),
        (0.01, 0.88),
        (0.14, 0.97),
        (0.27, 1.36),
        (0.40, 1.45),
        (0.54, 1.42),
        (0.70, 0.98),
        (0.93, 0.86),
        (1.0, 0.62),
    ],
    "hatch": [
        (0.0, 0.55),
        (0.01, 0.95),
        (0.07, 1.32),
        (0.22, 1.50),
        (0.48, 1.50),
        (0.69, 1.02),
        (0.92, 0.88),
        (1.0, 0.60),
    ],
    "suv": [
        (0.0, 0.60),
        (0.0, 1.10),
        (0.05, 1.60),
        (0.20, 1.72),
        (0.52, 1.70),
        (0.69, 1.18),
        (0.95, 1.05),
        (1.0, 0.70),
    ],
    "van": [
        (0.0, 0.55),
        (0.0, 1.20),
        (0.02, 1.85),
        (0.15, 1.95),
        (0.66, 1.92),
        (0.84, 1.15),
        (0.98, 0.98),
        (1.0, 0.60),
    ],
}
_LENGTHS = {"sedan": 4.4, "hatch": 3.8, "suv": 4.3, "van": 4.8}


def _paint(rng):
    if rng.random() < 0.45:
        return hsv(rng.uniform(0, 360), rng.uniform(0, 0.08), rng.choice([0.18, 0.35, 0.6, 0.8, 0.95]))
    return hsv(rng.choice([0, 5, 210, 225, 200, 120, 45, 28, 340]), rng.uniform(0.55, 0.9), rng.uniform(0.35, 0.85))


def draw_car(rng: np.random.Generator, scale: float) -> Sprite:
    """Draws one car.

    Args:
        rng: numpy Generator; the car is a function of its state.
        scale: image pixels per metre.

    Returns:
        A `Sprite`, standing on its anchor.
    """
    if rng.random() < 0.3:
        return _end_view(rng, scale)
    return _side_view(rng, scale)


def _side_view(rng, scale):
    kind = rng.choice(list(_BODIES))
    shrink = rng.uniform(0.72, 1.0)  # the length is foreshortened when the car stands at an angle
    length = _LENGTHS[kind] * shrink
    depth = 1.25 * np.sqrt(1 - shrink**2)  # what is seen of the front
    board = Board(length / 2 + 0.2, length / 2 + depth + 0.2, 2.15, 0.15, scale)
    flip = rng.choice([-1, 1])
    if flip < 0:
        board.anchor = (board.width - board.anchor[0], board.anchor[1])
    paint = np.clip(_paint(rng), 12, 245)

    def at(points):
        points = np.asarray(points, float)
        return np.stack([flip * (points[:, 0] - 0.5) * length, points[:, 1]], axis=1)

    roof = _BODIES[kind]
    outline = rounded(at(roof + [(0.995, 0.32), (0.93, 0.26), (0.06, 0.26), (0.0, 0.34)]), 2)
    if depth > 0.1:
        tyre = at([(0.97, 0.26)])[0] + [flip * depth * 0.72, 0]
        board.fill(oval(tyre, 0.12, 0.24), _TYRE, NEUTRAL - 30)
        _front_face(board, at, roof, depth * flip, paint)
    board.fill(outline, paint, NEUTRAL - 6)
    belt = 0.62 * roof[-2][1] + 0.3
    low = at([(0.0, 0.26), (1.0, 0.26), (1.0, 0.5), (0.0, 0.56)])
    board.mark(low, NEUTRAL - 38)
    board.mark(at([(0.02, belt - 0.14), (0.97, belt - 0.22), (0.97, belt - 0.15), (0.02, belt - 0.04)]), NEUTRAL + 40)
    _side_windows(board, at, kind, roof, paint)
    line = paint * 0.55
    for u in (0.31, 0.50, 0.685) if kind != "van" else (0.42, 0.68):
        top, bottom = at([(u, belt + 0.12), (u + 0.01, 0.36)])
        board.line(top, bottom, 0.016, line)
    for u in (0.35, 0.54):
        board.fill(
            at([(u, belt - 0.06), (u + 0.035, belt - 0.06), (u + 0.035, belt - 0.02), (u, belt - 0.02)]),
            line,
            NEUTRAL + 15,
        )
    lamp, tail = roof[-1][1] + 0.06, roof[1][1] - 0.1
    board.fill(
        rounded(at([(0.93, lamp + 0.12), (0.985, lamp + 0.02), (0.985, lamp - 0.08), (0.92, lamp)]), 1),
        (225, 240, 245),
        NEUTRAL + 20,
    )
    board.fill(
        rounded(at([(0.008, tail + 0.1), (0.055, tail + 0.08), (0.05, tail - 0.1), (0.003, tail - 0.1)]), 1),
        (35, 30, 190),
        NEUTRAL,
    )
    metal = hsv(0, 0, rng.uniform(0.5, 0.85))
    radius = rng.uniform(0.30, 0.35)
    for u in (0.185, 0.80):
        _wheel(board, at([(u, radius)])[0], radius, shrink, metal)
    return board.finish(rng, softness=0.05, grain=3)


def _wheel(board, hub, radius, shrink, metal):
    board.fill(oval(hub + [0, 0.03], radius * 1.16 * shrink, radius * 1.16), (16, 15, 15), NEUTRAL - 50)
    board.fill(oval(hub, radius * shrink, radius), _TYRE, NEUTRAL - 10)
    board.fill(oval(hub, radius * 0.66 * shrink, radius * 0.66), metal, NEUTRAL)
    for angle in np.arange(5) * 2 * np.pi / 5:
        tip = hub + 0.4 * radius * np.array([np.cos(angle) * shrink, np.sin(angle)])
        board.fill(oval(tip, radius * 0.13 * shrink, radius * 0.13), (45, 45, 45), NEUTRAL - 30)
    board.fill(oval(hub, radius * 0.15 * shrink, radius * 0.15), metal * 0.8, NEUTRAL + 10)


def _side_windows(board, at, kind, roof, paint):
    peaks = [p for p in roof if p[1] > 1.25]
    belt = max(p[1] for p in roof if p[0] > 0.6 and p[1] < 1.25) + 0.02
    left, right = peaks[0], peaks[-1]
    lean = 0.115 if kind != "van" else 0.13
    rear, rise = (0.46, 0.46) if kind == "van" else (left[0] - 0.02, left[0] + 0.03)
    glass = [
        (rear, belt),
        (rise, left[1] - 0.10),
        ((left[0] + right[0]) / 2, max(left[1], right[1]) - 0.10),
        (right[0] - 0.01, right[1] - 0.12),
        (right[0] + lean, belt),
    ]
    outline = rounded(at(glass), 1)
    board.fill(outline, _GLASS, NEUTRAL)
    middle = (left[0] + right[0]) / 2
    board.mark(
        at([(middle, belt), (middle + 0.07, belt), (middle + 0.11, right[1] - 0.13), (middle + 0.04, right[1] - 0.13)]),
        NEUTRAL + 70,
    )
    if kind != "van":
        pillar = at(
            [
                (middle + 0.02, belt - 0.02),
                (middle + 0.045, belt - 0.02),
                (middle + 0.02, left[1] - 0.07),
                (middle, left[1] - 0.07),
            ]
        )
        board.fill(pillar, paint * 0.6, NEUTRAL - 20)


def _front_face(board, at, roof, shift, paint):
    """The front of the car, turned away from the camera: hood edge, wind screen, grille, lamp."""
    shift = np.array([shift, 0.06])
    edge = at([(0.995, 0.30), roof[-1], roof[-2], roof[-3], roof[-4]])
    far = edge + shift * np.array([[1, 0.6], [1, 1], [0.97, 0.8], [0.86, 0.4], [0.72, 0.0]])
    board.fill([edge[3], edge[4], far[4], far[3]], paint, NEUTRAL - 4)
    screen = np.array([edge[3], edge[4], far[4], far[3]])
    board.fill(screen.mean(axis=0) + 0.82 * (screen - screen.mean(axis=0)), _GLASS, NEUTRAL + 14)
    for k, shade in enumerate((-34, -8, 14)):
        board.fill([edge[k], edge[k + 1], far[k + 1], far[k]], paint, NEUTRAL + shade)
    board.fill([edge[0], far[0], far[0] + [0, 0.12], edge[0] + [0, 0.12]], (40, 40, 42), NEUTRAL - 20)
    lamp = far[1] * 0.75 + edge[1] * 0.25
    board.fill(oval(lamp + [0, 0.02], 0.12 * abs(shift[0]) + 0.03, 0.07), (225, 240, 245), NEUTRAL + 20)
    grille = np.array([edge[1] * 0.7 + far[1] * 0.3, edge[1] * 0.35 + far[1] * 0.65])
    board.fill(np.concatenate([grille - [0, 0.05], grille[::-1] - [0, 0.22]]), (35, 35, 38), NEUTRAL - 10)


def _end_view(rng, scale):
    """A car seen from the front or from behind."""
    rear = rng.random() < 0.5
    height = rng.uniform(1.42, 1.75)
    board = Board(1.15, 1.15, 2.0, 0.15, scale)
    paint = np.clip(_paint(rng), 12, 245)
    half, belt = 0.88, height * 0.60

    def both(corners):
        corners = np.asarray(corners, float)
        return np.concatenate([corners, corners[::-1] * [-1, 1]])

    for side in (-1, 1):
        tyre = [[side * 0.84, 0.0], [side * 0.6, 0.0], [side * 0.6, 0.45], [side * 0.84, 0.45]]
        board.fill(rounded(tyre, 1), _TYRE, NEUTRAL - 30)
        board.limb([side * 0.85, belt + 0.04], [side * 1.0, belt + 0.1], 0.06, 0.09, paint * 0.8)
    shell = [
        [0.80, 0.22],
        [half + 0.02, 0.5],
        [half, belt - 0.05],
        [0.80, belt + 0.06],
        [0.62, height - 0.05],
        [0.3, height],
    ]
    board.fill(rounded(both(shell), 1), paint, NEUTRAL - 4)
    board.mark(both([[0.86, 0.25], [0.88, 0.48]]), NEUTRAL - 40)
    board.mark(both([[0.8, belt - 0.10], [0.78, belt]]), NEUTRAL + 34)
    board.fill(rounded(both([[0.70, belt + 0.07], [0.56, height - 0.10]]), 1), _GLASS, NEUTRAL)
    tilt = rng.uniform(-0.3, 0.2)
    board.mark(
        [[tilt, belt + 0.1], [tilt + 0.2, belt + 0.1], [tilt + 0.32, height - 0.12], [tilt + 0.12, height - 0.12]],
        NEUTRAL + 70,
    )
    lamp = (35, 30, 195) if rear else (225, 240, 246)
    for side in (-1, 1):
        light = [
            [side * 0.83, belt - 0.12],
            [side * 0.5, belt - 0.16],
            [side * 0.54, belt - 0.3],
            [side * 0.84, belt - 0.28],
        ]
        board.fill(rounded(light, 1), lamp, NEUTRAL + 16)
    if not rear:
        board.fill(rounded(both([[0.42, belt - 0.17], [0.38, belt - 0.36]]), 1), (35, 35, 38), NEUTRAL - 10)
    board.fill(both([[0.74, 0.24], [0.76, 0.36]]), (45, 45, 48), NEUTRAL - 14)
    plate = 0.52 if rear else 0.40
    board.fill(both([[0.26, plate - 0.05], [0.26, plate + 0.05]]), (225, 228, 230), NEUTRAL)
    board.line([-0.18, plate], [0.18, plate], 0.04, (90, 80, 80))
    return board.finish(rng, softness=0.05, grain=3)
