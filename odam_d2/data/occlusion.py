"""How much of an annotated object is hidden by others."""

from collections.abc import Sequence

from .boxes import Corners, corners, why_no_object


def occlusions(annotations: Sequence[dict]) -> list[float]:
    """The occlusion of each annotated object of an image, in [0, 1].

    What the annotation says itself comes first: one minus ``visible_fraction``; else, of ``full_box``, the share that
    ``visible_box`` (XYXY) leaves. Of an annotation that says neither, as in COCO's files, it is the share of its box
    that boxes of other objects cover together. That is more than is hidden where it stands in front of them.

    Args:
        annotations: of a record in Detectron2's format. Crowds, ignored and empty boxes cover nothing.
    """
    objects = {place: corners(item) for place, item in enumerate(annotations) if why_no_object(item) is None}
    found = []
    for place, item in enumerate(annotations):
        if item.get("visible_fraction") is not None:
            found.append(min(max(1.0 - float(item["visible_fraction"]), 0.0), 1.0))
        elif item.get("full_box") is not None and item.get("visible_box") is not None:
            found.append(1.0 - covered(item["full_box"], [item["visible_box"]]))
        else:
            found.append(covered(corners(item), [box for other, box in objects.items() if other != place]))
    return found


def covered(box: Corners | Sequence[float], others: Sequence[Corners | Sequence[float]]) -> float:
    """The share of a box that others cover together, all XYXY; 0 for a box without a size."""
    x1, y1, x2, y2 = box
    if x2 <= x1 or y2 <= y1:
        return 0.0
    inside = [(max(a, x1), max(b, y1), min(c, x2), min(d, y2)) for a, b, c, d in others]
    inside = [one for one in inside if one[0] < one[2] and one[1] < one[3]]
    # Between neighbouring edges the same boxes are met at every height.
    edges = sorted({edge for one in inside for edge in (one[0], one[2])})
    area = 0.0
    for left, right in zip(edges, edges[1:]):
        reached, height = y1, 0.0
        for top, bottom in sorted((b, d) for a, b, c, d in inside if a <= left and right <= c):
            height += max(bottom - max(top, reached), 0.0)
            reached = max(reached, bottom)
        area += height * (right - left)
    return min(area / ((x2 - x1) * (y2 - y1)), 1.0)
