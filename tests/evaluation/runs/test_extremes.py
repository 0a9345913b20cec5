"""The best and the worst, against sorting everything."""

import random

from odam_d2.evaluation import METRICS
from odam_d2.evaluation.runs.extremes import ExtremeObjects, find_extremes


def test_against_sorting_and_whoever_is_extreme_in_the_end_was_so_when_it_came():
    images = list(range(20))
    names = ["pointing_box", "compactness", "untouched"]
    values = {
        k: {n: [random.choice([0.0, 0.5, random.random(), None]) for _ in range(k % 4)] for n in names} for k in images
    }
    random.shuffle(images)
    kept = set()
    for part in (images[:8], images[8:]):  # two processes, each for itself
        extremes = ExtremeObjects(names, count=2)
        kept |= {(k, row) for k in part for row in extremes.offer(k, values[k])}
    results = [{"image_id": f"id{k}", "values": {"odam": values[k]}} for k in range(20)]
    found = find_extremes(results, {f"id{k}": k for k in range(20)}, "odam", names, count=2)
    assert list(found) == ["pointing_box", "compactness"]  # the other has no direction
    for name, sides in found.items():
        everyone = [(v, k, row) for k in range(20) for row, v in enumerate(values[k][name]) if v is not None]
        sign = 1 if METRICS[name].higher_is_better else -1
        assert sides["worst"] == [p[1:] for p in sorted(everyone, key=lambda p: (sign * p[0], *p[1:]))[:2]]
        assert sides["best"] == [p[1:] for p in sorted(everyone, key=lambda p: (-sign * p[0], *p[1:]))[:2]]
        assert {*sides["worst"], *sides["best"]} <= kept
