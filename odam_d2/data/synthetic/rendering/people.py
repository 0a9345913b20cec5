"""Articulated people: a three-dimensional skeleton in a pose, turned by any yaw, dressed, and drawn far limb first.

Body frame, in units of the body height: x to the person's left, f forward, v up. With yaw 0 the person faces the
camera.
"""

import numpy as np

from .board import NEUTRAL, Board, Sprite, oval, rounded, tube
from .textures import HAIR, SKIN, cloth, cloth_color

_THIGH, _SHIN, _UPPER, _FORE = 0.235, 0.235, 0.165, 0.145
_HIP, _SHOULDER, _HEAD = 0.505, 0.815, 0.925


def _direction(side, swing, spread):
    """Unit vector of a limb that hangs down, swung forward by `swing` and lifted outward by `spread` (radians)."""
    return np.array([side * np.sin(spread), np.cos(spread) * np.sin(swing), -np.cos(spread) * np.cos(swing)])


class Pose:
    """Joints of one body, (3,) arrays in the body frame, keyed by name and side (-1, 1).

    Args:
        rng: draws the pose.
        width: shoulder half-width.
    """

    def __init__(self, rng, width):
        gait = rng.choice(["stand", "walk", "run"], p=[0.45, 0.47, 0.08])
        stride = {"stand": rng.uniform(0, 0.1), "walk": rng.uniform(0.15, 0.42), "run": rng.uniform(0.45, 0.65)}[gait]
        lead = rng.choice([-1, 1])
        self.joints, self.lean = {}, rng.normal(0.02, 0.015) + 0.05 * (gait == "run")
        for side in (-1, 1):
            ahead = side == lead
            swing = stride if ahead else -stride
            bend = rng.uniform(0, 0.15) if ahead else stride * rng.uniform(0.6, 1.5)
            hip = np.array([side * 0.48 * width, 0, _HIP])
            knee = hip + _THIGH * _direction(side, swing, rng.uniform(0, 0.09))
            ankle = knee + _SHIN * _direction(side, swing - bend, rng.uniform(0, 0.05))
            toe = ankle + np.array([side * 0.015, 0.085, -0.022])
            self.joints.update({("hip", side): hip, ("knee", side): knee, ("ankle", side): ankle, ("toe", side): toe})
        self._arms(rng, width, gait, lead, stride)
        floor = min(self.joints["ankle", s][2] for s in (-1, 1)) - 0.032
        self.joints = {name: point - [0, 0, floor] for name, point in self.joints.items()}
        self.floor = floor

    def _arms(self, rng, width, gait, lead, stride):
        both = rng.choice(["down", "hips", "raised", "phone", "crossed"], p=[0.64, 0.1, 0.04, 0.14, 0.08])
        for side in (-1, 1):
            kind = both if both in ("hips", "crossed", "raised") or rng.random() < 0.6 else "down"
            swing, spread, elbow, inward = rng.normal(0, 0.08), rng.uniform(0.06, 0.25), rng.uniform(0, 0.35), 0.0
            if kind == "down":
                swing += (-0.8 if side == lead else 0.8) * stride
                elbow += 1.3 if gait == "run" else 0.0
            elif kind == "hips":
                spread, inward, elbow = rng.uniform(0.6, 0.8), rng.uniform(1.2, 1.5), 0.1
            elif kind == "raised":
                swing, spread, elbow = rng.uniform(2.3, 3.0), rng.uniform(0.25, 0.6), rng.uniform(0, 0.5)
            elif kind == "phone":
                swing, elbow, inward = rng.uniform(0.2, 0.6), rng.uniform(1.5, 2.1), 0.4
            else:
                swing, elbow, inward = rng.uniform(0.2, 0.4), rng.uniform(1.1, 1.3), 1.1
            shoulder = np.array([side * width, self.lean, _SHOULDER])
            hand_at = shoulder + _UPPER * _direction(side, swing, spread)
            self.joints["shoulder", side], self.joints["elbow", side] = shoulder, hand_at
            self.joints["wrist", side] = hand_at + _FORE * _direction(side, swing + elbow, spread - inward)


def _outfit(rng, board, unit):
    """Brushes and cuts of one set of clothes."""
    top = rng.choice(["shirt", "long", "tank", "jacket", "coat", "dress"], p=[0.3, 0.27, 0.07, 0.18, 0.1, 0.08])
    skin = SKIN[rng.integers(len(SKIN))] * rng.uniform(0.9, 1.05)
    wear = {
        "top": top,
        "skin": np.clip(skin, 0, 255),
        "hair": np.clip(HAIR[rng.integers(len(HAIR))] * rng.uniform(0.8, 1.2), 0, 255),
        "cloth": cloth(rng, board.shape, unit),
        "inner": cloth_color(rng),
        "legs": cloth_color(rng, dark=True),
        "cut": rng.choice(["trousers", "shorts", "skirt"], p=[0.75, 0.15, 0.1]),
        "shoe": cloth_color(rng, dark=rng.random() < 0.6),
        "style": rng.choice(
            ["short", "long", "bun", "bald", "cap", "hat", "beanie"], p=[0.36, 0.27, 0.07, 0.06, 0.1, 0.06, 0.08]
        ),
        "cap": cloth_color(rng),
    }
    if top == "dress":
        wear["cut"], wear["style"] = "skirt", rng.choice(["long", "bun"])
    return wear


def draw_person(rng: np.random.Generator, scale: float) -> Sprite:
    """Draws one person.

    Args:
        rng: numpy Generator; the person is a function of its state.
        scale: image pixels per metre.

    Returns:
        A `Sprite` with a head box, standing on its anchor.
    """
    height = float(np.clip(rng.normal(1.7, 0.09), 1.1, 2.0))
    unit = height * scale  # one body height in image pixels
    board = Board(0.55, 0.55, 1.28, 0.1, unit)
    width = rng.uniform(0.092, 0.122)
    pose = Pose(rng, width)
    wear = _outfit(rng, board, unit * board.samples / 1.7)
    yaw = rng.uniform(-np.pi, np.pi)
    heft = rng.uniform(0.88, 1.25)
    _Figure(board, pose, wear, yaw, width, heft, rng).draw()
    return board.finish(rng, softness=0.012)


class _Figure:
    """Draws the parts of one dressed body on a board."""

    def __init__(self, board, pose, wear, yaw, width, heft, rng):
        self.board, self.pose, self.wear, self.width, self.heft, self.rng = board, pose, wear, width, heft, rng
        self.cos, self.sin = np.cos(yaw), np.sin(yaw)

    def at(self, x, f, v):
        """Screen position of a point of the body frame."""
        return np.array([x * self.cos + f * self.sin, v])

    def near(self, point):
        """How near to the camera a point is; larger is nearer."""
        return point[1] * self.cos - point[0] * self.sin

    def joint(self, name, side):
        """Screen position of a joint."""
        return self.at(*self.pose.joints[name, side])

    def draw(self):
        """Far arm, far leg, near leg, torso, head, near arm: the painter's order for every yaw."""
        joints = self.pose.joints
        arms = sorted((-1, 1), key=lambda s: self.near(joints["wrist", s] + joints["elbow", s]))
        legs = sorted((-1, 1), key=lambda s: self.near(joints["knee", s] + joints["ankle", s]))
        pack = self.rng.random() < 0.16
        behind = [s for s in arms if self.near(joints["wrist", s] + joints["elbow", s]) < 0.02]
        if pack and self.cos > 0:
            self._backpack()
        for side in behind:
            self._arm(side)
        for side in legs:
            self._leg(side)
        self._torso()
        if pack and self.cos <= 0:
            self._backpack()
        self._head()
        for side in arms:
            if side not in behind:
                self._arm(side)
        if self.rng.random() < 0.15:
            self._handbag(arms[-1])

    def _leg(self, side):
        wear, heft = self.wear, self.heft
        hip, knee, ankle, toe = (self.joint(n, side) for n in ("hip", "knee", "ankle", "toe"))
        bare = wear["cut"] != "trousers"
        thigh = wear["legs"] if wear["cut"] != "skirt" else wear["skin"]
        loose = 1.0 if bare else 1.12
        self.board.limb(ankle + [0, -0.004], toe, 0.027, 0.019, wear["shoe"])
        self.board.limb(knee, ankle, 0.038 * heft * loose, 0.022 * loose**2, wear["skin"] if bare else wear["legs"])
        self.board.limb(hip, knee, 0.058 * heft, 0.040 * heft * loose, thigh)

    def _arm(self, side):
        wear, heft = self.wear, self.heft
        shoulder, elbow, wrist = (self.joint(n, side) for n in ("shoulder", "elbow", "wrist"))
        sleeve, cuff = wear["cloth"], wear["cloth"]
        if wear["top"] in ("shirt", "tank", "dress"):
            cuff = wear["skin"]
        if wear["top"] == "tank":
            sleeve = wear["skin"]
        hand = wrist + (wrist - elbow) * 0.18
        self.board.limb(wrist, hand, 0.018, 0.020, wear["skin"])
        self.board.limb(elbow, wrist, 0.027 * heft, 0.020 * heft, cuff)
        if wear["top"] == "shirt":
            self.board.limb(shoulder, elbow, 0.028 * heft, 0.026 * heft, wear["skin"])
            elbow = shoulder + 0.7 * (elbow - shoulder)
        self.board.limb(shoulder, elbow, 0.036 * heft, 0.031 * heft, sleeve)

    def _half(self, lateral, deep):
        """Half-width on screen of an elliptic body section."""
        return np.hypot(lateral * self.cos, deep * self.sin)

    def _torso(self):
        wear, heft, drop, lean = self.wear, self.heft, self.pose.floor, self.pose.lean
        top, hip = _SHOULDER - drop, _HIP - drop
        chest = self._half(self.width * 1.12, 0.068 * heft)
        waist = self._half(self.width * 0.80 * heft, 0.062 * heft)
        seat = self._half(self.width * 0.92 * heft, 0.072 * heft)
        bottom = {"coat": hip - 0.17, "jacket": hip - 0.045, "dress": hip - 0.2}.get(wear["top"], hip - 0.02)
        flare = seat * (1.1 if wear["top"] == "coat" else 1.5 if wear["top"] == "dress" else 1.04)
        neck, mid = self.at(0, lean, top + 0.02), self.at(0, lean * 0.5, (top + hip) / 2)
        base = self.at(0, 0, bottom)
        if wear["cut"] == "skirt" and wear["top"] != "dress":
            hem = self.at(0, 0, hip - 0.17)
            skirt = [[-seat, hip + 0.04], [seat, hip + 0.04], hem + [seat * 1.35, 0], hem + [-seat * 1.35, 0]]
            self.board.fill(rounded(skirt, 1), wear["legs"], NEUTRAL - 26)
            self.board.relief([0, hip], hem, seat * 0.8, seat)
        elif bottom > hip - 0.1:
            self.board.limb([0, hip + 0.02], [0, hip - 0.02], seat * 0.98, seat * 0.93, wear["legs"])
        self.board.limb(self.at(0, lean, top + 0.005), self.at(0, lean * 1.3, top + 0.06), 0.027, 0.026, wear["skin"])
        outline = [
            neck + [-0.034, 0.022], neck + [0.034, 0.022], neck + [chest * 0.85, 0.002], neck + [chest * 1.03, -0.055],
            mid + [waist, 0], base + [flare, 0.02], base + [flare, -0.012],
            base + [-flare, -0.012], base + [-flare, 0.02], mid + [-waist, 0],
            neck + [-chest * 1.03, -0.055], neck + [-chest * 0.85, 0.002],
        ]  # fmt: skip
        outline = rounded(outline, 2)
        self.board.fill(outline, wear["cloth"], NEUTRAL - 30)
        self.board.relief(neck + [0, -0.08], base + [0, 0.06], chest * 0.75, flare * 0.75)
        if self.cos > 0.3:
            self._front(neck, base, chest, wear)
        if wear["top"] == "shirt" and bottom > hip - 0.1 and self.rng.random() < 0.5:
            self.board.line([base[0] - seat, bottom + 0.008], [base[0] + seat, bottom + 0.008], 0.012, (25, 30, 40))

    def _front(self, neck, base, chest, wear):
        """Open jacket, tie, logo or neckline on the side that faces the camera."""
        shift = self.sin * 0.05
        if wear["top"] in ("jacket", "coat"):
            half = chest * self.rng.uniform(0.2, 0.4)
            strip = [neck + [shift - half, 0.01], neck + [shift + half, 0.01], base + [shift + half * 0.8, 0.0],
                     base + [shift - half * 0.8, 0.0]]  # fmt: skip
            self.board.fill(strip, wear["inner"], NEUTRAL + 4)
            if self.rng.random() < 0.3:
                self.board.fill(tube(neck + [shift, 0], neck + [shift, -0.16], 0.006, 0.014), wear["cap"])
        else:
            self.board.fill(oval(neck + [shift, 0.024], 0.036, 0.026), wear["skin"], NEUTRAL - 20)
            if self.rng.random() < 0.3:
                self.board.fill(oval(neck + [shift, -0.1], chest * 0.4, 0.035), wear["inner"], NEUTRAL + 10)

    def _backpack(self):
        drop = self.pose.floor
        high, low = self.at(0, -0.1, _SHOULDER - drop - 0.05), self.at(0, -0.105, _HIP - drop + 0.08)
        half = self._half(0.085, 0.05)
        self.board.limb(high, low, half, half * 1.1, self.wear["cap"])
        self.board.limb(low + [0, 0.02], low + [0, 0.01], half * 0.7, half * 0.7, self.wear["cap"] * 0.75)

    def _handbag(self, side):
        wrist = self.joint("wrist", side)
        bag = [wrist + [-0.045, -0.06], wrist + [0.045, -0.06], wrist + [0.055, -0.15], wrist + [-0.055, -0.15]]
        self.board.fill(tube(wrist, wrist + [0, -0.07], 0.007, 0.007), self.wear["shoe"] * 0.7)
        self.board.fill(rounded(bag, 1), self.wear["shoe"], NEUTRAL - 14)

    def _head(self):
        wear, board = self.wear, self.board
        lean, drop = self.pose.lean, self.pose.floor
        center = self.at(0, lean * 1.5 + 0.012, _HEAD - drop)
        half = self._half(0.045, 0.056)
        style, hair = wear["style"], wear["hair"]
        facing, fringe = self.cos, 0.011 * np.sign(self.sin) * abs(self.sin)
        if style == "long" and facing > -0.2:
            tail = center + [-self.sin * 0.03, -0.09]
            board.limb(center, tail, half * 1.12, half * 1.05, hair * 0.9, head=False)
            board.limb(self.at(0, lean, _SHOULDER - drop), center, 0.026, 0.026, wear["skin"] * 0.85)
        crown = wear["skin"] if style == "bald" else hair
        board.fill(oval(center + [-fringe, 0.006], half * 1.06, 0.066), crown, NEUTRAL - 26, head=True)
        board.relief(center + [-fringe, 0.01], center + [-fringe, 0], half, half)
        if facing > -0.55:
            face = center + [1.4 * fringe + self.sin * 0.006, -0.012]
            size = half * (0.92 - 0.25 * max(-facing, 0))
            board.fill(oval(face, size, 0.053), wear["skin"], NEUTRAL - 12, head=True)
            board.relief(face, face, size * 0.8, size * 0.8)
            self._face(face, size)
        else:
            for side in (-1, 1):
                board.fill(oval(self.at(side * 0.047, lean, _HEAD - drop), 0.008, 0.014), wear["skin"] * 0.9, head=True)
        if style == "long" and facing <= -0.2:
            board.limb(center + [0, 0.01], center + [-self.sin * 0.03, -0.11], half * 1.1, half * 1.1, hair)
        if style == "bun":
            board.limb(
                center + [-self.sin * 0.05, 0.06], center + [-self.sin * 0.055, 0.065], 0.026, 0.026, hair, head=True
            )
        if style in ("cap", "hat", "beanie"):
            self._headgear(center, half, style)

    def _face(self, face, size):
        skin, board = self.wear["skin"], self.board
        for side in (-1, 1):
            eye = np.array([side * 0.018 * self.cos + self.sin * 0.034, 0.012])
            if abs(eye[0]) < size * 0.95:
                board.fill(oval(face + eye, 0.0060, 0.0042), (45, 45, 55))
                board.fill(oval(face + eye + [0, 0.011], 0.009, 0.003), self.wear["hair"] * 0.7)
        if abs(self.sin) > 0.5:
            tip = face + [np.sign(self.sin) * size * 0.98, -0.004]
            board.fill(oval(tip, 0.009, 0.010), skin, NEUTRAL - 8, head=True)
            board.fill(oval(face - [np.sign(self.sin) * size * 0.55, 0], 0.010, 0.014), skin * 0.85)
        mouth = face + [self.sin * 0.034, -0.028]
        board.fill(oval(mouth, 0.012 * max(abs(self.cos), 0.5), 0.004), (70, 70, 150))

    def _headgear(self, center, half, style):
        color, board = self.wear["cap"], self.board
        dome = [[-1.12, -0.1], [-1.1, 0.6], [-0.6, 1.1], [0, 1.22], [0.6, 1.1], [1.1, 0.6], [1.12, -0.1]]
        lift = {"cap": 0.028, "hat": 0.03, "beanie": 0.018}[style]
        dome = rounded(center + [0, lift] + np.array(dome) * [half, 0.05], 1)
        board.fill(dome, color, NEUTRAL - 18, head=True)
        board.relief(center + [0, lift + 0.025], center + [0, lift + 0.025], half * 0.8, half * 0.8)
        if style == "hat":
            brim = oval(center + [0, lift], half * 1.9, 0.014)
            board.fill(brim, color * 0.8, NEUTRAL - 10, head=True)
        if style == "cap" and self.cos > -0.6:
            peak = center + [self.sin * 0.06, lift - 0.002]
            board.fill(oval(peak, half * (0.55 + 0.5 * abs(self.sin)), 0.012), color * 0.7, head=True)
