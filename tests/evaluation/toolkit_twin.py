"""The figures of a crowd by the rules of CrowdHuman's toolkit, as plain loops over lists: no numpy, nothing of ours.

A record is a Detectron2 dict as tests/evaluation/crowds.py makes it, a detection list a pair of boxes and scores.
"""

import math

FPPI = (0.0100, 0.0178, 0.0316, 0.0562, 0.1000, 0.1778, 0.3162, 0.5623, 1.000)


def area(box):
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def common(a, b):
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0.0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)


def iou(a, b):
    union = area(a) + area(b) - common(a, b)
    return common(a, b) / union if union > 0 else 0.0


def covered(box, regions):
    """Whether one of the regions covers more than half of the box."""
    return any(area(box) > 0 and common(box, region) / area(box) > 0.5 for region in regions)


def cut(box, height, width):
    x1, y1, x2, y2 = box
    return [
        min(max(x1, 0), width - 1),
        min(max(y1, 0), height - 1),
        max(min(x2, width), 0),
        max(min(y2, height), 0),
    ]


def unpack(record, detections):
    """(boxes of people, regions, detections as (score, box) by falling score), all cut."""
    size = record["height"], record["width"]
    people = [cut(item["full_box"], *size) for item in record["annotations"] if not item["iscrowd"]]
    regions = [cut(item["full_box"], *size) for item in record["annotations"] if item["iscrowd"]]
    found = [(score, cut(box, *size)) for box, score in zip(*detections, strict=True)]
    found.sort(key=lambda one: one[0], reverse=True)  # stable: of equal scores the earlier one stays first
    return people, regions, found


def walk(people, regions, found):
    """Of each detection: the number of a person, "region" or "false"."""
    free, outcomes = [True] * len(people), []
    for _, box in found:
        best, best_iou = None, 0.5
        for number, person in enumerate(people):
            if free[number] and iou(box, person) > best_iou:
                best, best_iou = number, iou(box, person)
        if best is not None:
            free[best] = False
            outcomes.append(best)
        else:
            outcomes.append("region" if covered(box, regions) else "false")
    return outcomes


def heaviest_pairs(people, boxes):
    """{detection: person} of the largest total IoU among pairs above .5, by trying all."""

    def best_from(number, taken):
        if number == len(boxes):
            return 0.0, {}
        best = best_from(number + 1, taken)
        for person, other in enumerate(people):
            overlap = iou(boxes[number], other)
            if person not in taken and overlap > 0.5:
                total, pairs = best_from(number + 1, taken | {person})
                if total + overlap > best[0]:
                    best = total + overlap, {number: person, **pairs}
        return best

    return best_from(0, frozenset())[1]


def table(records, detections, members):
    """AP, recall, MR, JI in percent and JI's threshold.

    Args:
        records: of the images.
        detections: of each image boxes and scores.
        members: of each image whether each of its people belongs to the subset.
    """
    images = [unpack(record, found) for record, found in zip(records, detections, strict=True)]
    total = sum(sum(mine) for mine in members)
    if not total:
        return {"AP": math.nan, "recall": math.nan, "MR": math.nan, "JI": math.nan, "JI_score": None}
    events = []
    for (people, regions, found), mine in zip(images, members, strict=True):
        for (score, _), outcome in zip(found, walk(people, regions, found), strict=True):
            if outcome == "false":
                events.append((score, 0))
            elif outcome != "region" and mine[outcome]:
                events.append((score, 1))
    events.sort(key=lambda event: event[0], reverse=True)

    points, true, false = [], 0, 0
    for _, right in events:
        true, false = true + right, false + 1 - right
        points.append((true / total, true / (true + false), false / len(records)))
    ap = 0.0
    for (before, sooner, _), (recall, precision, _) in zip(points, points[1:]):
        ap += (recall - before) * (sooner + precision) / 2

    misses = []
    for reference in FPPI:
        reached = [1 - recall for recall, _, fppi in points if fppi >= reference]
        misses.append(reached[0] if reached else 1 - points[-1][0] if points else 1.0)
    mr = 0.0 if 0.0 in misses else math.exp(sum(map(math.log, misses)) / len(misses))

    index, index_score = math.nan, None
    for step in range(10):
        shares = []
        for (people, regions, found), mine in zip(images, members, strict=True):
            boxes = [box for score, box in found if score > step / 10]
            pairs = heaviest_pairs(people, boxes)
            k = sum(mine[person] for person in pairs.values())
            m = k + sum(1 for number, box in enumerate(boxes) if number not in pairs and not covered(box, regions))
            n = k + sum(
                1 for number, box in enumerate(people)
                if mine[number] and number not in pairs.values() and not covered(box, regions)
            )  # fmt: skip
            if m or n:
                shares.append(k / (m + n - k))
        if shares and (index_score is None or sum(shares) / len(shares) > index):
            index, index_score = sum(shares) / len(shares), step / 10
    recall = points[-1][0] if points else 0.0
    return {"AP": 100 * ap, "recall": 100 * recall, "MR": 100 * mr, "JI": 100 * index, "JI_score": index_score}
