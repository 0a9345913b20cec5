"""Crowds made by hand and at random, and the figures of a crowd by the strict protocol as slow plain loops over lists.

The toolkit's protocol is in tests/evaluation/toolkit_twin.py.
"""

import math

import numpy as np

from odam_d2.evaluation.crowd.objects import CrowdObjects

# One image with three people and a region to ignore, and five detections by falling score.
SIZE = (100, 100)
PEOPLE = [[0.0, 0, 10, 10], [20.0, 0, 30, 10], [40.0, 0, 50, 10]]
REGION = [60.0, 0, 100, 40]
DETECTIONS = [
    [0.0, 0, 10, 10],  # the first person
    [0.0, 0, 10, 8],  # the first again, IoU 80 / 100
    [62.0, 2, 72, 12],  # in the region
    [22.0, 0, 32, 10],  # the second, IoU 80 / 120
    [80.0, 80, 90, 90],  # nobody
]
SCORES = [0.95, 0.85, 0.75, 0.65, 0.35]


def annotation(full, visible=None, iscrowd=0):
    return {"full_box": list(full), "visible_box": list(visible or full), "iscrowd": iscrowd}


def record(people=PEOPLE, regions=(REGION,), size=SIZE, image_id=0):
    """A Detectron2 dict; `people` are full boxes or (full, visible)."""
    pairs = [one if isinstance(one, tuple) else (one, one) for one in people]
    annotations = [annotation(*pair) for pair in pairs] + [annotation(region, iscrowd=1) for region in regions]
    return {"image_id": image_id, "height": size[0], "width": size[1], "annotations": annotations}


def random_image(rng, image_id=0):
    """A record and detections, (R, 4) and (R,), with ties, boxes beyond the image and detections in regions."""

    def boxes(count):
        corners = rng.integers(-8, 40, (count, 2))
        return np.concatenate([corners, corners + rng.integers(4, 20, (count, 2))], axis=1).astype(float)

    full = boxes(rng.integers(0, 5))
    full = np.concatenate([full, full[: rng.integers(0, 2)] + [2, 0, 2, 0]])
    hidden = full.copy()
    hidden[:, 3] -= (full[:, 3] - full[:, 1]) * rng.choice([0, 0.05, 0.2, 0.6], len(full))
    regions = boxes(rng.integers(0, 3))
    near = np.concatenate([full, full[: len(full) // 2], regions])
    near = near + rng.integers(-2, 3, near.shape)
    found = np.concatenate([near, boxes(rng.integers(0, 3))])
    found = found[rng.permutation(len(found))][: rng.integers(0, 8)]
    found = found[(found[:, 2] > found[:, 0]) & (found[:, 3] > found[:, 1])]
    scores = rng.integers(0, 11, len(found)) / 10
    people = list(zip(full.tolist(), hidden.tolist()))
    return record(people, regions.tolist(), (48, 40), image_id), found, scores


# ---- plain loops ----


def area(box):
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def common(a, b):
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)


def iou(a, b):
    union = area(a) + area(b) - common(a, b)
    return common(a, b) / union if union else 0.0


def cut(box, size):
    height, width = size
    return [min(max(v, 0), limit) for v, limit in zip(box, (width, height, width, height))]


def plain_people(image):
    """(boxes, regions, subsets of each person), cut to the image; who lies outside belongs to no subset."""
    size = (image["height"], image["width"])
    people = [item for item in image["annotations"] if not item["iscrowd"]]
    boxes, names = [], []
    for number, item in enumerate(people):
        box = cut(item["full_box"], size)
        ratio = area(item["visible_box"]) / area(item["full_box"])
        crowd = max([iou(item["full_box"], o["full_box"]) for k, o in enumerate(people) if k != number], default=0)
        mine = {"all", "bare" if ratio >= 0.9 else "partial" if ratio >= 0.65 else "heavy"}
        mine.add("crowd_bare" if crowd <= 0.3 else "crowd_partial" if crowd <= 0.5 else "crowd_heavy")
        boxes.append(box)
        names.append(mine if area(box) else set())
    regions = [cut(item["full_box"], size) for item in image["annotations"] if item["iscrowd"]]
    return boxes, regions, names


def plain_walk(image, found, scores):
    """By falling score: (score, number of a person, or "false", or "ignored")."""
    boxes, regions, _ = plain_people(image)
    size = (image["height"], image["width"])
    taken, result = set(), []
    for index in sorted(range(len(scores)), key=lambda k: (-scores[k], k)):
        box = cut(found[index], size)
        best, best_iou = None, 0.5
        for number, person in enumerate(boxes):
            if number not in taken and iou(box, person) > best_iou:
                best, best_iou = number, iou(box, person)
        if best is not None:
            taken.add(best)
            result.append((scores[index], best))
        elif any(area(box) and common(box, region) / area(box) > 0.5 for region in regions):
            result.append((scores[index], "ignored"))
        else:
            result.append((scores[index], "false"))
    return result


def plain_pairs(image, found):
    """The largest one-to-one set of pairs with IoU > .5, of the largest sum of IoU: tries all of them."""
    boxes, _, _ = plain_people(image)
    cuts = [cut(box, (image["height"], image["width"])) for box in found]

    def best_from(number, taken):
        if number == len(cuts):
            return (0, 0.0), {}
        best = best_from(number + 1, taken)
        for person, other in enumerate(boxes):
            overlap = iou(cuts[number], other)
            if person not in taken and overlap > 0.5:
                (count, total), pairs = best_from(number + 1, taken | {person})
                best = max(best, ((count + 1, total + overlap), {number: person, **pairs}), key=lambda one: one[0])
        return best

    return best_from(0, frozenset())[1]


def plain_table(images, detections, subset):
    """AP, recall, MR, JI in percent of a subset, from the definitions."""
    names = [plain_people(image)[2] for image in images]
    total = sum(subset in mine for image in names for mine in image)
    if not total:
        return dict.fromkeys(("AP", "recall", "MR", "JI"), math.nan)
    events = []  # (score, whether somebody of the subset was found)
    for image, mine, (found, scores) in zip(images, names, detections):
        for score, outcome in plain_walk(image, found, scores):
            if outcome == "false":
                events.append((score, False))
            elif outcome != "ignored" and subset in mine[outcome]:
                events.append((score, True))
    points = []  # (true positives, false positives) at each threshold
    for threshold in sorted({score for score, _ in events}, reverse=True):
        passed = [right for score, right in events if score >= threshold]
        points.append((sum(passed), len(passed) - sum(passed)))
    precision = 0.0
    for number in range(1, total + 1):  # the n-th person found, at the best precision of any threshold that finds n
        precision += max([true / (true + false) for true, false in points if true >= number], default=0.0)
    logs = []
    for step in range(9):
        bound = 10 ** (-2 + step / 4)
        missed = [1 - true / total for true, false in points if false / len(images) <= bound]
        logs.append(math.log(max(min(missed, default=1.0), 1e-10)))
    indices = []
    for step in range(10):
        values = []
        for image, mine, (found, scores) in zip(images, names, detections):
            kept = [box for box, score in zip(found, scores) if score >= step / 10]
            pairs, (_, regions, _) = plain_pairs(image, kept), plain_people(image)
            cuts = [cut(box, (image["height"], image["width"])) for box in kept]
            rest = [box for k, box in enumerate(cuts) if k not in pairs]
            false = [b for b in rest if not any(area(b) and common(b, r) / area(b) > 0.5 for r in regions)]
            right = sum(subset in mine[person] for person in pairs.values())
            people = sum(subset in one for one in mine)
            if right + len(false) + people - right:
                values.append(right / (right + len(false) + people - right))
        indices.append(sum(values) / len(values))
    return {
        "AP": 100 * precision / total,
        "recall": 100 * sum(right for _, right in events) / total,
        "MR": 100 * math.exp(sum(logs) / 9),
        "JI": 100 * max(indices),
    }


def objects_of(*images):
    return [CrowdObjects.of(image) for image in images]
