"""Error bars: how far a mean over objects would move with other images.

Shape letters: n values, N images, B resamplings.
"""

import numpy as np


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
    draws = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=resamplings)
    means = (draws @ sums) / (draws @ counts)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
