"""Whether heat maps tell one object's duplicates from its neighbours where the overlap of boxes can't.

Hard pairs are pairs of candidates that lie on objects of one class and overlap each other by a middling IoU. The figure
is the area under the ROC curve (AUC) of telling "same object" from "other object": .5 is guessing, 1 is perfect.

Shape letters: R candidates of one image, n pairs of one image or of all, N images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.structures import Boxes, pairwise_iou
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor
from tqdm import tqdm

from ..ground_truth import TrueObjects
from .candidates import Candidates

# What a pair is judged by: its maps' similarity, its boxes' IoU, and a logistic regression on the two.
JUDGES = ("maps", "iou", "both")


@dataclass
class HardPairs:
    """The hard pairs of one image.

    Attributes:
        same: (n,) bool, whether both candidates lie on one object.
        similarity: (n,) how alike their maps are.
        iou: (n,) IoU of their boxes.
    """

    same: Tensor
    similarity: Tensor
    iou: Tensor


def find_hard_pairs(
    candidates: Candidates,
    truth: TrueObjects,
    least: float = 0.4,
    most: float = 0.75,
    min_iou: float = 0.5,
    min_score: float = 0.05,
) -> HardPairs:
    """The hard pairs among an image's candidates.

    A candidate lies on the object of its class that it overlaps most, if their IoU is at least `min_iou`.

    Args:
        candidates: of an image.
        truth: its objects.
        least: smallest IoU of the two candidates.
        most: largest IoU of the two candidates.
        min_iou: see above, greater than 0.
        min_score: candidates must score more than this.
    """
    owner, on_object = owners(candidates, truth, min_iou)
    rows = (on_object & (candidates.scores > min_score)).nonzero()[:, 0]
    first, second = rows[torch.triu_indices(len(rows), len(rows), 1)]
    iou = pairwise_iou(Boxes(candidates.boxes), Boxes(candidates.boxes))[first, second]
    hard = (iou >= least) & (iou <= most) & (candidates.classes[first] == candidates.classes[second])
    first, second, iou = first[hard], second[hard], iou[hard]
    return HardPairs(owner[first] == owner[second], candidates.similarity[first, second], iou)


def owners(candidates: Candidates, truth: TrueObjects, min_iou: float) -> tuple[Tensor, Tensor]:
    """(R,) int64, the object of its class that each candidate overlaps most; (R,) bool, whether by `min_iou`."""
    if len(truth.boxes) == 0:
        none = torch.zeros(len(candidates.boxes), dtype=torch.int64)
        return none, none.bool()
    overlap, owner = object_overlaps(candidates, truth).max(1)
    return owner, overlap >= min_iou


def object_overlaps(candidates: Candidates, truth: TrueObjects) -> Tensor:
    """(R, G): IoU of each candidate with each of the G objects; 0 for objects of another class."""
    (in_h, in_w), (out_h, out_w) = candidates.image_size, candidates.output_size
    objects = Boxes(truth.boxes * truth.boxes.new_tensor([in_w / out_w, in_h / out_h] * 2))
    return pairwise_iou(Boxes(candidates.boxes), objects) * (candidates.classes[:, None] == truth.classes)


def area_under_roc(values: np.ndarray, positive: np.ndarray) -> float:
    """Share of (positive, negative) couples of which the positive one has the larger value; ties count half.

    Args:
        values: (n,) float.
        positive: (n,) bool.

    Returns:
        In [0, 1]; NaN where there is no couple.
    """
    values, positive = np.asarray(values, np.float64), np.asarray(positive, bool)
    wins, couples = _wins(values[positive], values[~positive]).sum(), positive.sum() * (~positive).sum()
    return float(wins / couples) if couples else float("nan")


def _wins(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """For each positive value, how many of the negative ones are smaller; equal ones count half."""
    ordered = np.sort(negatives)
    below, to = np.searchsorted(ordered, positives, "left"), np.searchsorted(ordered, positives, "right")
    return (below + to) / 2


def summarize_hard_pairs(
    images: Sequence[HardPairs], level: float = 0.95, resamplings: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """AUC over the hard pairs of all images together.

    The judge ``both`` is a logistic regression on similarity and IoU, fitted to these very pairs with both kinds
    weighted equally: three numbers, so that the fit gains next to nothing by itself.

    Args:
        images: hard pairs of each image.
        level: share of resampled figures inside an interval, in (0, 1).
        resamplings: how many times images are drawn anew for the intervals; 0 for none.
        seed: of the draws.

    Returns:
        ``same`` and ``other``, numbers of pairs, and, where there are both kinds: ``auc``, each judge's figure;
        ``gain``, that of ``both`` less that of ``iou``; with `resamplings` and more than one image, ``interval``, the
        percentile bootstrap over whole images, [low, high] for each judge and for ``gain``.
    """
    same = np.concatenate([np.zeros(0, bool), *(one.same.numpy() for one in images)])
    image = np.repeat(np.arange(len(images)), [len(one.same) for one in images])
    found: dict[str, Any] = {"same": int(same.sum()), "other": int((~same).sum())}
    if not (found["same"] and found["other"]):
        return found
    values = {
        "maps": np.concatenate([one.similarity.numpy() for one in images]).astype(np.float64),
        "iou": np.concatenate([one.iou.numpy() for one in images]).astype(np.float64),
    }
    values["both"] = _fit_logistic(np.stack([values["maps"], values["iou"]], 1), same)
    found["auc"] = {judge: area_under_roc(values[judge], same) for judge in JUDGES}
    found["gain"] = found["auc"]["both"] - found["auc"]["iou"]
    if resamplings and len(images) > 1:
        draws = _draw(len(images), resamplings, seed)
        drawn = {judge: _resampled(values[judge], same, image, draws) for judge in JUDGES}
        drawn["gain"] = drawn["both"] - drawn["iou"]
        ends = [(1 - level) / 2, (1 + level) / 2]
        found["interval"] = {name: np.nanquantile(value, ends).tolist() for name, value in drawn.items()}
    return found


def _fit_logistic(features: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """(n,) log odds of a logistic regression on (n, 2) features, both kinds weighing the same."""
    spread = features.std(0)
    scaled = (features - features.mean(0)) / np.where(spread > 0, spread, 1.0)
    design = np.concatenate([scaled, np.ones((len(scaled), 1))], 1)
    sign = np.where(positive, 1.0, -1.0)
    weight = np.where(positive, 0.5 / positive.sum(), 0.5 / (~positive).sum())

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (design @ theta)
        # The small penalty keeps separable pairs from weights without end.
        value = weight @ np.logaddexp(0.0, -margin) + 1e-6 * theta @ theta
        return float(value), -design.T @ (weight * sign * expit(-margin)) + 2e-6 * theta

    return design @ minimize(loss, np.zeros(3), jac=True, method="BFGS").x


def _draw(count: int, resamplings: int, seed: int) -> np.ndarray:
    """(resamplings, count): how often each image is drawn."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamplings).astype(float)


def _resampled(values: np.ndarray, positive: np.ndarray, image: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """AUC of each draw of images; NaN for a draw without a couple.

    Couples are counted once, by the image of their positive and that of their negative pair: an image that is drawn
    twice counts with everything that it is part of.
    """
    number = draws.shape[1]
    wins = np.zeros((number, number))  # (image of the negative, image of the positive)
    for one in tqdm(range(number), desc="hard pairs", unit="image", delay=5):
        won = _wins(values[positive], values[~positive & (image == one)])
        wins[one] = np.bincount(image[positive], won, minlength=number)
    positives, negatives = (np.bincount(image[kind], minlength=number) for kind in (positive, ~positive))
    couples = (draws @ positives) * (draws @ negatives)
    won = np.einsum("bi,ij,bj->b", draws, wins, draws, optimize=True)
    return np.divide(won, couples, out=np.full(len(draws), np.nan), where=couples > 0)
