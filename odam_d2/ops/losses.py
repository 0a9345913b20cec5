"""The two losses of Odam-Train: maps of one object alike, maps of neighbours unlike.

Source: Zhao and Chan, ODAM, ICLR 2023 (arXiv 2304.06354), section 3.3.

Shape letters: R maps of one image, T cells of their common grid, P pairs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

# Similarities are kept this far from 0 and 1, so that no logarithm explodes; beyond, a pair has no gradient.
MARGIN = 1e-4


def unit_vectors(maps: Tensor) -> Tensor:
    """Maps divided by their lengths, (R, T) from (R, T); a map of all zeros stays one."""
    length = maps.norm(dim=1, keepdim=True)
    return maps / torch.where(length > 0, length, 1.0)


def pair_similarities(vectors: Tensor, pairs: Tensor) -> Tensor:
    """Cosines of pairs of unit vectors.

    Args:
        vectors: (R, T) of length one, or zero.
        pairs: (P, 2) int64, rows of `vectors`; quick where few different ones stand in the first column.

    Returns:
        (P,), with the graph of `vectors`; not clamped.
    """
    if pairs.dim() != 2 or pairs.shape[1] != 2:
        raise ValueError(
            f"`pairs` must be (P, 2) rows of `vectors`; got {tuple(pairs.shape)}: give torch.zeros(0, 2) for none"
        )
    first, which = pairs[:, 0].unique(return_inverse=True)
    return (vectors[first] @ vectors.T)[which, pairs[:, 1]]


def both_losses(
    vectors: Tensor, same: Tensor, other: Tensor, total: int | Tensor, weights: Tensor | Sequence[float] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Consistency and separation of one image for the price of one product of its vectors.

    Args:
        vectors: (R, T) unit vectors, see :func:`unit_vectors`.
        same: (P, 2) int64, pairs for :func:`consistency_loss`.
        other: (Q, 2) int64, pairs for :func:`separation_loss`.
        total: number of pairs of *both* kinds, over all images; less than one counts as one.
        weights: (P,) of the former; one where left out.

    Returns:
        () consistency; () separation; (P + Q,) cosines of the pairs, not clamped, the former ones first.
    """
    similarities = pair_similarities(vectors, torch.cat([same, other]))
    clamped = similarities.clamp(MARGIN, 1.0 - MARGIN)
    alike = -clamped[: len(same)].log()
    if weights is not None:
        alike = alike * torch.as_tensor(weights, dtype=alike.dtype, device=alike.device)
    unlike = -(1.0 - clamped[len(same) :]).log()
    divisor = total.clamp(min=1) if isinstance(total, Tensor) else max(1, total)
    return alike.sum() / divisor, unlike.sum() / divisor, similarities


def consistency_loss(
    vectors: Tensor, pairs: Tensor, total: int | Tensor, weights: Tensor | Sequence[float] | None = None
) -> Tensor:
    """How unlike the maps of one object are: the sum of w * -log(sim) over pairs, divided by `total`.

    Args:
        vectors: (R, T) unit vectors, see :func:`unit_vectors`.
        pairs: (P, 2) int64, an object's anchor and another of its predictions.
        total: number of pairs of *both* kinds, over all images; less than one counts as one.
        weights: (P,) w; one where left out.

    Returns:
        () not negative; for no pairs a zero with the graph of `vectors`.
    """
    return both_losses(vectors, pairs, pairs[:0], total, weights)[0]


def separation_loss(vectors: Tensor, pairs: Tensor, total: int | Tensor) -> Tensor:
    """How alike the maps of different objects are: the sum of -log(1 - sim) over pairs, divided by `total`.

    Args:
        vectors: (R, T) unit vectors, see :func:`unit_vectors`.
        pairs: (P, 2) int64, an object's anchor and a prediction of another object.
        total: number of pairs of *both* kinds, over all images; less than one counts as one.

    Returns:
        () not negative; for no pairs a zero with the graph of `vectors`.
    """
    return both_losses(vectors, pairs[:0], pairs, total)[1]


def ranking_loss(same: Tensor, other: Tensor, temperature: float) -> Tensor:
    """How often pairs of different objects are more alike than pairs of one object, made smooth.

    The mean of ``log(1 + exp((other - same) / temperature))`` over all couples of a pair of each kind, a bound
    on 1 - AUC (Burges et al., "Learning to Rank using Gradient Descent", ICML 2005).

    Args:
        same: (n,) similarities of pairs of one object.
        other: (m,) similarities of pairs of different objects.
        temperature: difference of similarities that counts as one, > 0.

    Returns:
        () not negative; a zero with the graph of both where one of them is empty.
    """
    if len(same) == 0 or len(other) == 0:
        return same.sum() * 0.0 + other.sum() * 0.0
    return torch.nn.functional.softplus((other - same[:, None]) / temperature).mean()
