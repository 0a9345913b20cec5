"""Misses told by plain loops over what a detector says, for tests of the quick way.

Everything is Python's own numbers; nothing of the package is used. An image is a :class:`Raw`.
"""

from dataclasses import dataclass, field


@dataclass
class Stage:
    """A limit of a choice.

    ``kind``: score (above `limit`), topk (the best of each group), size (both sides above `limit`), nms (by group).
    """

    name: str
    kind: str
    limit: float
    groups: str = "level"  # or class, or all


@dataclass
class Raw:
    """What a detector says of one image.

    Attributes:
        steps: (name, [candidate][class] boxes, or [candidate] points); a candidate with one box has it for all classes.
        scores: [candidate][class].
        stages: of the choice.
        levels: [candidate].
        background: [candidate], or None.
        ranked: [candidate] scores that candidates were chosen by, or None.
        before: what candidates were chosen among.
    """

    steps: list
    scores: list
    stages: list
    levels: list
    background: list | None = None
    ranked: list | None = None
    before: "Raw | None" = None
    left: dict = field(default_factory=dict)
    final: list = field(default_factory=list)
    kept: list = field(default_factory=list)


def iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (both - width * height)


def reach(point, box):
    """The IoU of a box with the smallest that holds it and a point."""
    width = max(point[0], box[2]) - min(point[0], box[0])
    height = max(point[1], box[3]) - min(point[1], box[1])
    return (box[2] - box[0]) * (box[3] - box[1]) / (width * height)


def overlap(place, label, box):
    """Of a candidate at one step: a point, a box, or a box for each class."""
    if not isinstance(place[0], list):
        return reach(place, box) if len(place) == 2 else iou(place, box)
    return iou(place[label % len(place)], box)


def clip(box, size):
    height, width = size
    return [min(max(value, 0.0), limit) for value, limit in zip(box, (width, height, width, height), strict=True)]


def choose(raw, compared):
    """Walks all pairs through the stages; `compared` is [candidate][class] boxes as non-max suppression has them.

    Fills ``left``, pair -> name of the stage at which it left, and ``final``, the pairs that are left, best first.
    """

    def box_of(pair):
        boxes = compared[pair[0]]
        return boxes[pair[1] % len(boxes)]

    def group(pair, kind):
        return {"level": raw.levels[pair[0]], "class": pair[1], "all": 0}[kind]

    pairs = [(row, label) for row, scores in enumerate(raw.scores) for label in range(len(scores))]
    for stage in raw.stages:
        pairs.sort(key=lambda pair: -raw.scores[pair[0]][pair[1]])
        kept, counts = [], {}
        for pair in pairs:
            own = group(pair, stage.groups)
            if stage.kind == "score":
                stays = raw.scores[pair[0]][pair[1]] > stage.limit
            elif stage.kind == "topk":
                counts[own] = counts.get(own, 0) + 1
                stays = counts[own] <= stage.limit
            elif stage.kind == "size":
                box = box_of(pair)
                stays = min(box[2] - box[0], box[3] - box[1]) > stage.limit
            else:
                same = [other for other in kept if group(other, stage.groups) == own]
                overlaps = [iou(box_of(other), box_of(pair)) for other in same]
                assert all(abs(value - stage.limit) > 1e-5 for value in overlaps), "rounding would decide"
                stays = all(value <= stage.limit for value in overlaps)
            if stays:
                kept.append(pair)
            else:
                raw.left[pair] = stage.name
        if stage.kind == "nms":
            raw.kept = list(kept)
        pairs = kept
    raw.final = pairs
    return raw


def neighbour(raw, pair, compared, stage):
    """Of the kept pairs that suppress a pair the one that overlaps it most, and by how much."""

    def box_of(one):
        return compared[one[0]][one[1] % len(compared[one[0]])]

    best, largest = None, 0.0
    for other in raw.kept:
        same = other[1] == pair[1] if stage.groups == "class" else raw.levels[other[0]] == raw.levels[pair[0]]
        better = raw.scores[other[0]][other[1]] >= raw.scores[pair[0]][pair[1]]
        value = iou(box_of(other), box_of(pair))
        if same and better and value > max(stage.limit, largest):
            best, largest = other, value
    return best, largest


def diagnose(raw, box, label, others=(), t_f=0.5, t_bg=0.05):
    """The mechanism of one miss: a dict of ``mechanism``, ``stage`` and figures as :class:`Evidence` names them.

    `others` are (box, class) of the other annotated objects; ``compared`` boxes are those of the last step.
    """
    last = raw.steps[-1][1]
    overlaps = [[overlap(place, label, box) for place in places] for _, places in raw.steps]
    assert all(abs(value - t_f) > 1e-5 for step in overlaps for value in step), "rounding would decide"
    taken = [pair for pair in raw.final if pair[1] == label and overlaps[-1][pair[0]] >= t_f]
    free = [row for row in range(len(last)) if row not in {row for row, _ in taken}]
    found = {"taken": tuple(raw.final.index(pair) for pair in taken)}
    found["step_ious"] = {
        name: max((values[row] for row in free), default=0.0)
        for (name, _), values in zip(raw.steps, overlaps, strict=True)
    }
    if free:
        ranked = raw.ranked or [scores[label] for scores in raw.scores]
        nearest = max(overlaps[0][row] for row in free)
        assert all(abs(nearest - overlaps[0][row] - 1e-3) > 1e-5 for row in free), "rounding would decide"
        start = max((row for row in free if nearest - overlaps[0][row] < 1e-3), key=lambda row: ranked[row])
        found |= {
            "start_iou": overlaps[0][start],
            "start_score": ranked[start],
            "start_rank": 1 + sum(score > ranked[start] for score in ranked),
        }
    filters = [stage.limit for stage in raw.stages if stage.kind == "score"]
    threshold = max(filters, default=None)
    enough = threshold if threshold is not None else -1.0
    fitting = [row for row in free if overlaps[-1][row] >= t_f]
    passing = [row for row in fitting if raw.scores[row][label] > enough]

    best_other = None
    for row in free:
        for other in range(len(raw.scores[row])):
            own = overlap(last[row], other, box)
            rivals = [overlap(last[row], other, there) for there, kind in others if kind == other]
            able = other != label and own >= t_f and raw.scores[row][other] > enough
            if able and all(own >= value for value in rivals):
                if best_other is None or raw.scores[row][other] > raw.scores[best_other[0]][best_other[1]]:
                    best_other = (row, other)

    def said(row):
        scores = raw.scores[row]
        ahead = max(range(len(scores)), key=lambda k: scores[k])
        preferred = ahead if scores[ahead] > scores[label] else None
        return {
            "box_iou": overlaps[-1][row],
            "score": scores[label],
            "class_rank": 1 + sum(score > scores[label] for score in scores),
            "preferred_class": preferred,
            "margin": None if preferred is None else scores[preferred] - scores[label],
            "background_score": raw.background[row] if raw.background else None,
        }

    near = [any(values[row] >= t_f for row in free) for values in overlaps]
    if not any(near) and best_other is None:
        found |= {"box_iou": max((overlaps[-1][row] for row in free), default=None)}
        return found | {"mechanism": "no_candidate"} | before(raw, box, t_f)
    if not fitting and best_other is None:
        step = max(number for number, one in enumerate(near) if one) + 1
        away = max(overlaps[-1][row] for row in free)
        return found | {"mechanism": "regressed_away", "stage": raw.steps[step][0], "box_iou": away}
    best = max(fitting, key=lambda row: raw.scores[row][label], default=None)
    if best_other is not None:
        row, other = best_other
        if best is None or raw.scores[row][other] > raw.scores[best][label]:
            figures = said(row) | {
                "preferred_class": other,
                "margin": raw.scores[row][other] - raw.scores[row][label],
                "box_iou": overlap(last[row], other, box),
            }
            return found | {"mechanism": "other_class", "stage": "score_filter"} | figures
    if passing:
        names = [stage.name for stage in raw.stages]
        places = {row: names.index(raw.left[row, label]) for row in passing}
        farthest = [row for row in passing if places[row] == max(places.values())]
        row = max(farthest, key=lambda one: overlaps[-1][one])
        stage = raw.stages[places[row]]
        figures = said(row) | {"mechanism": "suppressed", "stage": stage.name, "limit": stage.limit}
        if stage.kind == "nms":
            other, largest = neighbour(raw, (row, label), raw.compared, stage)
            figures |= {
                "neighbour": raw.final.index(other) if other in raw.final else None,
                "neighbour_iou": largest,
                "neighbour_score": raw.scores[other[0]][other[1]],
                "neighbour_class": other[1],
            }
        return found | figures
    figures = said(best) | {"stage": "score_filter"}
    nothing = figures["background_score"]
    own = figures["score"]
    if nothing is not None and nothing > own:
        figures |= {"preferred_class": None, "margin": nothing - own, "mechanism": "background"}
    elif nothing is None and max(raw.scores[best]) < t_bg:
        figures["mechanism"] = "background"
    else:
        figures["mechanism"] = "low_score"
    return found | figures


def before(raw, box, t_f):
    """Where the nearest box left of those that candidates are chosen among, and figures of it."""
    first = raw.before
    if first is None:
        return {"stage": raw.steps[0][0]}
    overlaps = [iou(boxes[0], box) for boxes in first.steps[-1][1]]
    assert all(abs(value - t_f) > 1e-5 for value in overlaps), "rounding would decide"
    names = [stage.name for stage in first.stages]
    lost = [row for row, value in enumerate(overlaps) if value >= t_f and (row, 0) in first.left]
    found = {"stage": raw.steps[0][0]}
    row = max(range(len(overlaps)), key=lambda one: overlaps[one])
    if lost:
        places = {one: names.index(first.left[one, 0]) for one in lost}
        farthest = [one for one in lost if places[one] == max(places.values())]
        row = max(farthest, key=lambda one: overlaps[one])
        stage = first.stages[places[row]]
        found |= {"stage": stage.name, "limit": stage.limit}
        if stage.kind == "nms":
            other, largest = neighbour(first, (row, 0), first.compared, stage)
            found |= {"neighbour_iou": largest, "neighbour_score": first.scores[other[0]][0]}
    scores = [one[0] for one in first.scores]
    return found | {
        "proposed_iou": overlaps[row],
        "proposed_score": scores[row],
        "proposed_rank": 1 + sum(score > scores[row] for score in scores),
    }
