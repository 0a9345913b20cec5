"""Whether one method is better than another: differences on the same objects, with error bars.

Intervals of two means can overlap although one method is better on nearly every object; differences object by object
don't have that weakness.

Shape letters: n objects.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..bootstrap import bootstrap_interval
from ..metrics.builtin import METRICS


@dataclass(frozen=True)
class PairedDifference:
    """One method less another, by one metric.

    Attributes:
        metric: its name.
        mean: over the objects, in the metric's own unit.
        interval: 95 %, bootstrap over images.
        objects: n, those that have a value by both methods.
    """

    metric: str
    mean: float
    interval: tuple[float, float]
    objects: int

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, or ``open`` where the interval holds zero; by the metric's direction."""
        low, high = self.interval
        if not self.objects or low <= 0.0 <= high:
            return "open"
        return "better" if (low > 0.0) == METRICS[self.metric].higher_is_better else "worse"


def paired_differences(
    rows: Sequence[Mapping[str, str]], metrics: Sequence[str], method: str, rival: str, seed: int = 0
) -> list[PairedDifference]:
    """Compares two methods object by object.

    Args:
        rows: lines of ``per_object.csv``, a dict each, as :class:`csv.DictReader` gives them.
        metrics: those to compare by; metrics without a direction are left out.
        method: the one whose values count positive.
        rival: the other.
        seed: of the bootstrap.

    Raises:
        ValueError: if a method is not in `rows`.
    """
    by_method: dict[str, dict[tuple[str, str], Mapping[str, str]]] = {}
    for row in rows:
        by_method.setdefault(row["method"], {})[row["image_id"], row["annotation_id"]] = row
    for name, value in (("method", method), ("rival", rival)):
        if rows and value not in by_method:
            raise ValueError(f"`{name}` must be one of {sorted(by_method)}; got {value!r}: measure it in the same run")
    own, other = by_method.get(method, {}), by_method.get(rival, {})
    found = []
    for metric in metrics:
        if METRICS[metric].higher_is_better is None:
            continue
        keys = [key for key in own if own[key][metric] and other[key][metric]]
        values = np.array([float(own[key][metric]) - float(other[key][metric]) for key in keys])
        interval = bootstrap_interval(values, np.array([key[0] for key in keys]), seed=seed)
        found.append(PairedDifference(metric, float(values.mean()) if keys else float("nan"), interval, len(keys)))
    return found
