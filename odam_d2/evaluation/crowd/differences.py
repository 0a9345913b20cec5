"""Whether one set of detections of a crowd is better than another: differences of the figures, with error bars.

Shape letters: P images, G people of one image, B resamplings, N detections of all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .matching import SCORE_THRESHOLDS, CrowdMatches
from .metrics import jaccard_shares, pool_images, pool_matches
from .protocol import find_protocol

FIGURES = ("AP", "recall", "MR", "JI")
_PERCENT = 100.0


@dataclass(frozen=True)
class CrowdDifference:
    """A figure of one set of detections less that of another on the same images.

    Attributes:
        subset: of the people.
        figure: one of :data:`FIGURES`.
        value: in percent points.
        interval: 95 %, percentile bootstrap over images; JI's threshold of score is chosen anew in every resampling.
    """

    subset: str
    figure: str
    value: float
    interval: tuple[float, float]

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, or ``open`` where the interval holds zero; of MR less is better."""
        low, high = self.interval
        if not (low > 0.0 or high < 0.0):
            return "open"
        return "better" if (low > 0.0) != (self.figure == "MR") else "worse"


@dataclass(frozen=True)
class CrowdSample:
    """The figures of one set of detections, as they are and for images drawn anew.

    Attributes:
        subset: of the people.
        values: figure -> in percent.
        drawn: figure -> (B,) in percent; NaN for a draw without anybody to be found.
    """

    subset: str
    values: dict[str, float]
    drawn: dict[str, np.ndarray]


def sample_crowd(
    matches: Sequence[CrowdMatches],
    within: Sequence[np.ndarray],
    subset: str,
    protocol: str,
    figures: Sequence[str] = FIGURES,
    resamplings: int = 1000,
    seed: int = 0,
) -> CrowdSample:
    """The figures of detections, and of as many images drawn with replacement, again and again.

    Args:
        matches: of P images, see :func:`odam_d2.evaluation.crowd.matching.match_crowd`.
        within: P times (G,) bool, who belongs to the subset.
        subset: its name.
        protocol: by whose rules they were matched.
        figures: which.
        resamplings: B.
        seed: of the draws; those of one seed and number of images are the same.
    """
    images = len(matches)
    draws = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=resamplings)
    pooled = _Pooled(matches, within, protocol)
    values = pooled.figures(np.ones((1, images), dtype=np.int64), figures)
    return CrowdSample(subset, {name: float(one[0]) for name, one in values.items()}, pooled.figures(draws, figures))


def crowd_differences(own: CrowdSample, rival: CrowdSample) -> list[CrowdDifference]:
    """The figures of one less those of the other, both of the same images, drawn by the same seed."""
    return [
        CrowdDifference(
            own.subset, name, own.values[name] - rival.values[name], _interval(own.drawn[name] - rival.drawn[name])
        )
        for name in own.values
    ]


class _Pooled:
    """The detections of all images that count for a subset, sorted once, so that a draw needs to repeat rows alone."""

    def __init__(self, matches: Sequence[CrowdMatches], within: Sequence[np.ndarray], protocol: str):
        self.protocol = find_protocol(protocol)
        self.people = np.array([int(members.sum()) for members in within])
        scores, found = pool_matches(matches, within)
        order = np.argsort(-scores, kind="stable")
        self.scores, self.found, self.image = scores[order], found[order], pool_images(matches, within)[order]
        self.shares = jaccard_shares(matches, within)

    def figures(self, draws: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Figure -> (B,) in percent, for (B, P) int `draws`, how often each image is drawn."""
        values = np.full((len(names), len(draws)), np.nan)
        for column, draw in enumerate(draws):
            people, times = int(draw @ self.people), draw[self.image]
            if people:
                scores, found = self.scores.repeat(times), self.found.repeat(times)
                values[:, column] = [_FIGURES[name](self, draw, scores, found, people) for name in names]
        return {name: _PERCENT * row for name, row in zip(names, values, strict=True)}

    def average_precision(self, draw: np.ndarray, scores: np.ndarray, found: np.ndarray, people: int) -> float:
        return self.protocol.average_precision(scores, found, people)

    def recall(self, draw: np.ndarray, scores: np.ndarray, found: np.ndarray, people: int) -> float:
        return float(found.sum()) / people

    def miss_rate(self, draw: np.ndarray, scores: np.ndarray, found: np.ndarray, people: int) -> float:
        return self.protocol.miss_rate(scores, found, people, int(draw.sum()))

    def jaccard(self, draw: np.ndarray, scores: np.ndarray, found: np.ndarray, people: int) -> float:
        defined = ~np.isnan(self.shares)
        images, sums = draw @ defined, draw @ np.where(defined, self.shares, 0.0)
        means = np.divide(sums, images, out=np.full(len(SCORE_THRESHOLDS), np.nan), where=images > 0)
        return float(np.nanmax(means)) if images.any() else float("nan")


_FIGURES = {
    "AP": _Pooled.average_precision,
    "recall": _Pooled.recall,
    "MR": _Pooled.miss_rate,
    "JI": _Pooled.jaccard,
}


def _interval(values: np.ndarray) -> tuple[float, float]:
    valid = values[~np.isnan(values)]
    if not len(valid):
        return float("nan"), float("nan")
    low, high = np.quantile(valid, [0.025, 0.975])
    return float(low), float(high)
