"""Which objects are the best and the worst of each metric."""

from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..metrics.builtin import METRICS

# (value, number of the image, row of the object)
Place = tuple[float, int, int]


class ExtremeObjects:
    """Keeps the best and the worst objects seen so far, by the maps of one method.

    An object that is among them at the end was so when it came, in whatever order and in however many parts images
    are seen: who keeps what :meth:`offer` names has everything that is asked for in the end.

    Args:
        metrics: names in :data:`METRICS`; those without a direction are left out.
        count: how many of each.
    """

    def __init__(self, metrics: Iterable[str], count: int = 3):
        self.count = count
        names = [name for name in metrics if METRICS[name].higher_is_better is not None]
        self.places: dict[str, dict[str, list[Place]]] = {name: {"worst": [], "best": []} for name in names}

    def offer(self, image: int, values: Mapping[str, Sequence[float | None]]) -> set[int]:
        """Adds the objects of an image.

        Args:
            image: its number in the data set.
            values: metric -> a number for each object; None for no value.

        Returns:
            The rows of those that are now among the extremes.
        """
        for name, sides in self.places.items():
            sign = 1.0 if METRICS[name].higher_is_better else -1.0
            for row, value in enumerate(values.get(name, ())):
                if value is not None:
                    for side, factor in (("worst", sign), ("best", -sign)):
                        insort(sides[side], (factor * value, image, row))
                        del sides[side][self.count :]
        everyone = (place for sides in self.places.values() for places in sides.values() for place in places)
        return {row for _, number, row in everyone if number == image}


def find_extremes(
    results: Sequence[Mapping[str, Any]],
    numbers: Mapping[Any, int],
    method: str,
    metrics: Sequence[str],
    count: int = 3,
) -> dict[str, dict[str, list[tuple[int, int]]]]:
    """The extremes of a whole run: metric -> ``worst`` and ``best`` -> (number of the image, row), extreme first.

    Args:
        results: of :meth:`~odam_d2.evaluation.runs.measuring.Measuring.measure`.
        numbers: image id -> number of the image.
        method: whose maps are judged.
        metrics: see :class:`ExtremeObjects`.
        count: likewise.
    """
    extremes = ExtremeObjects(metrics, count)
    for result in results:
        extremes.offer(numbers[result["image_id"]], result["values"].get(method, {}))
    return {
        name: {side: [(image, row) for _, image, row in places] for side, places in sides.items()}
        for name, sides in extremes.places.items()
    }
