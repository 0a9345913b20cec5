"""How alike the maps of a detector's candidates are: of one object, and of neighbours.

Odam-NMS can tell duplicates from neighbours as far as these two lie apart, and Odam-Train is there to part them.

Shape letters: R candidates and G objects of one image.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from detectron2.structures import Boxes, pairwise_iou
from torch import Tensor

from ..ground_truth import TrueObjects
from .candidates import Candidates

KINDS = ("same", "other")
_QUANTILES = (0.1, 0.5, 0.9)


def pair_similarities(candidates: Candidates, truth: TrueObjects, min_iou: float = 0.5) -> dict[str, Tensor]:
    """Similarities of every two candidates that lie on objects.

    A candidate lies on the object of its class that it overlaps most, if their IoU is at least `min_iou`.

    Args:
        candidates: of an image.
        truth: its objects.
        min_iou: see above, greater than 0.

    Returns:
        ``same``: (n,) of two candidates on one object; ``other``: (m,) of two on different objects of one class whose
        boxes overlap at all.
    """
    (in_h, in_w), (out_h, out_w) = candidates.image_size, candidates.output_size
    objects = Boxes(truth.boxes * truth.boxes.new_tensor([in_w / out_w, in_h / out_h] * 2))
    boxes = Boxes(candidates.boxes)
    if len(truth.boxes) == 0 or len(boxes) == 0:
        return {kind: candidates.scores.new_zeros(0) for kind in KINDS}
    iou = pairwise_iou(boxes, objects) * (candidates.classes[:, None] == truth.classes)
    overlap, owner = iou.max(1)
    on_objects = (overlap >= min_iou).nonzero()[:, 0]
    first, second = on_objects[torch.triu_indices(len(on_objects), len(on_objects), 1)]
    one_class = candidates.classes[first] == candidates.classes[second]
    touching = pairwise_iou(boxes, boxes)[first, second] > 0
    same = owner[first] == owner[second]
    alike = candidates.similarity[first, second]
    return {"same": alike[same], "other": alike[~same & one_class & touching]}


def summarize_likeness(similarities: Iterable[dict[str, Tensor]]) -> dict[str, dict[str, Any]]:
    """Means and quantiles over images.

    Args:
        similarities: of each image, see :func:`pair_similarities`.

    Returns:
        For ``same`` and ``other``: ``pairs``, their number, and where there are some ``mean``, ``q10``, ``q50`` and
        ``q90``.
    """
    parts = list(similarities)
    found: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        values = torch.cat([torch.zeros(0), *(part[kind] for part in parts)]).double()
        found[kind] = {"pairs": len(values)}
        if len(values):
            places = (torch.tensor(_QUANTILES) * (len(values) - 1)).round().long()
            quantiles = values.sort().values[places].tolist()
            names = (f"q{100 * share:.0f}" for share in _QUANTILES)
            found[kind] |= {"mean": float(values.mean()), **dict(zip(names, quantiles, strict=True))}
    return found
