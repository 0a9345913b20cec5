"""Error bars: how far a mean over objects would move with other images.

Shape letters: n values, N images, M means, B resamplings.
"""

from collections.abc import Iterator

import numpy as np

_DRAWS_AT_ONCE = 2**23


def bootstrap_interval(
    values: np.ndarray, images: np.ndarray, level: float = 0.95, resamplings: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap of the mean over objects, drawing whole images: objects of one image go together.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.

    Args:
        values: (n,) float; NaN are left out.
        images: (n,) the image of each value, of any type that can be told apart.
        level: share of resampled means inside the interval, in (0, 1).
        resamplings: B.
        seed: of the draws.

    Returns:
        Lower and upper bound; NaN twice where there is no value.
    """
    values = np.asarray(values, dtype=np.float64)
    valid = ~np.isnan(values)
    if not valid.any():
        return float("nan"), float("nan")
    _, group = np.unique(np.asarray(images)[valid], return_inverse=True)
    sums, counts = np.bincount(group, values[valid]), np.bincount(group)
    low, high = bootstrap_intervals(sums[:, None], counts[:, None], level, resamplings, seed)
    return float(low[0]), float(high[0])


def bootstrap_intervals(
    sums: np.ndarray, counts: np.ndarray, level: float = 0.95, resamplings: int = 2000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """:func:`bootstrap_interval` of M means at once, from the same draws.

    Args:
        sums: (N, M) of each image the sum of its values.
        counts: (N, M) how many values it has.
        level: see there.
        resamplings: B; a draw that has no value of a mean is left out of its interval.
        seed: of the draws.

    Returns:
        (M,) lower and (M,) upper bounds; NaN where there is no value.
    """
    counts = counts.astype(np.float64)
    chunks = []
    for draws in _drawn(len(sums), resamplings, seed):
        total = draws @ counts
        chunks.append(np.divide(draws @ sums, total, out=np.full(total.shape, np.nan), where=total > 0))
    low, high = np.full((2, sums.shape[1]), np.nan)
    for column, means in enumerate(np.concatenate(chunks).T if chunks else ()):
        valid = means[~np.isnan(means)]
        if len(valid):
            low[column], high[column] = np.quantile(valid, [(1 - level) / 2, (1 + level) / 2])
    return low, high


def _drawn(images: int, resamplings: int, seed: int) -> Iterator[np.ndarray]:
    """(b, N) float64 at a time: how often each image is drawn in each resampling."""
    generator, even = np.random.default_rng(seed), np.full(images, 1 / max(images, 1))
    at_once = max(1, _DRAWS_AT_ONCE // max(images, 1))
    for start in range(0, resamplings if images else 0, at_once):
        yield generator.multinomial(images, even, size=min(at_once, resamplings - start)).astype(np.float64)
