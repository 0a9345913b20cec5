"""How alike the score maps of suppressed boxes and of what suppressed them are.

Shape letters: N images, S suppressed boxes of an image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.structures import Boxes, Instances

from ...explain import Explainer
from ...modeling.provenance import ROW_FIELD
from .mechanisms import Found
from .replay import Replayed

# Model-input pixels per cell of the grid that maps are compared on, as Odam-NMS does.
STRIDE = 8.0


def map_similarities(
    explainer: Explainer, replayed: Replayed, found: Sequence[Sequence[Found]]
) -> list[dict[int, float]]:
    """Explains each suppressed box and its neighbour as they are, before suppression, all images together.

    Args:
        explainer: of the detector, with the attribute ``score``.
        replayed: what the detector did.
        found: N times the mechanisms of an image's misses.

    Returns:
        N dicts: which of an image's misses -> cosine of the two score maps, in [0, 1].
    """
    numbers = [[k for k, one in enumerate(image) if one.neighbour is not None] for image in found]
    if replayed.trace_of is None or not any(numbers):
        return [{} for _ in found]
    pairs = [_pairs(replayed, n, [found[n][k] for k in own]) for n, own in enumerate(numbers)]
    with torch.enable_grad():
        maps = explainer.heat_maps(replayed.trace_of(pairs))
    similar = []
    for own, heatmaps in zip(numbers, maps, strict=True):
        cosines = heatmaps.similarity("score", STRIDE).detach() if own else None
        similar.append({k: float(cosines[2 * s, 2 * s + 1]) for s, k in enumerate(own) if cosines is not None})
    return similar


def _pairs(replayed: Replayed, number: int, suppressed: list[Found]) -> Instances:
    """2 S Instances in the model-input frame: each suppressed candidate, and behind it its neighbour."""
    image = replayed.images[number]
    candidates = image.candidates
    assert candidates is not None  # otherwise nothing is known to be suppressed
    named = []
    for one in suppressed:
        assert one.pair is not None and one.neighbour is not None  # the caller asks
        named += [one.pair, (one.neighbour.row, one.neighbour.label)]
    device = candidates.scores.device
    rows, labels = torch.tensor(named, dtype=torch.int64, device=device).view(-1, 2).unbind(1)
    last = candidates.last.boxes
    boxes = last[rows] if last.dim() == 2 else last[rows, labels]
    found = Instances(image.image_size, pred_boxes=Boxes(boxes), scores=candidates.scores[rows, labels])
    found.pred_classes = labels
    found.set(ROW_FIELD, rows)
    return found
