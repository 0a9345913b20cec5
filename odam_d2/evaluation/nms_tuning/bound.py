"""How good any choice among a detector's candidates could be, by the annotations.

Shape letters: R candidates and G objects of one image, K candidates chosen.
"""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..ground_truth import TrueObjects
from .candidates import Candidates
from .hard_pairs import object_overlaps


def best_choice(candidates: Candidates, truth: TrueObjects, most: int, min_iou: float = 0.5) -> tuple[Tensor, Tensor]:
    """One candidate for each object that any of them finds, and no other.

    As many objects as possible get a candidate of their own class with an IoU of at least `min_iou`; among such
    choices the one with the largest sum of scores is taken. No way to remove duplicates can have a larger Jaccard
    index at that IoU.

    Args:
        candidates: of an image.
        truth: its objects that count.
        most: how many to keep at most, the best.
        min_iou: see above, greater than 0.

    Returns:
        (K,) int64 indices by falling score, and (K,) scores.
    """
    fits = object_overlaps(candidates, truth) >= min_iou if len(truth.boxes) else torch.zeros(0)
    if not bool(fits.any()):
        return torch.zeros(0, dtype=torch.int64), candidates.scores[:0]
    # An object more counts for more than all scores together can.
    worth = fits.double() * (1.0 + candidates.scores.double()[:, None] / (2.0 * len(truth.boxes)))
    rows, columns = map(torch.from_numpy, linear_sum_assignment(worth.numpy(), maximize=True))
    kept = rows[fits[rows, columns]].sort().values[:most]  # candidates stand by falling score
    return kept, candidates.scores[kept]
