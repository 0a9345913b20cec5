"""Differences of a crowd's figures, against the figures of images that were drawn one by one."""

import numpy as np
import pytest

from odam_d2.evaluation.crowd.differences import FIGURES, CrowdDifference, crowd_differences, sample_crowd
from odam_d2.evaluation.crowd.matching import match_crowd
from odam_d2.evaluation.crowd.metrics import (
    average_precision,
    jaccard_index,
    log_average_miss_rate,
    pool_matches,
)
from odam_d2.evaluation.crowd.objects import CrowdObjects
from tests.evaluation.crowds import DETECTIONS, SCORES, objects_of, random_image, record

IMAGES, DRAWS = 9, 25


def crowds(protocol, seed=0):
    """Matches of two detectors on the same images, and the people."""
    rng = np.random.default_rng(seed)
    own, rival, objects = [], [], []
    for number in range(IMAGES):
        one, boxes, scores = random_image(rng, number)
        objects.append(CrowdObjects.of(one))
        # No two equal: which of equal ones comes first is not what is compared here.
        scores = scores + rng.random(len(scores)) * 0.01
        own.append(match_crowd(boxes, scores, objects[-1], protocol=protocol))
        rival.append(match_crowd(boxes[::2] + 1, scores[::2], objects[-1], protocol=protocol))
    return own, rival, objects


def one_by_one(matches, within, draw, protocol):
    """The figures of images that are there as often as they were drawn."""
    rows = np.repeat(np.arange(len(draw)), draw)
    matches, within = [matches[k] for k in rows], [within[k] for k in rows]
    scores, found = pool_matches(matches, within)
    people = int(sum(one.sum() for one in within))
    return {
        "AP": 100 * average_precision(scores, found, people, protocol),
        "recall": 100 * found.sum() / people if people else float("nan"),
        "MR": 100 * log_average_miss_rate(scores, found, people, len(matches), protocol),
        "JI": 100 * jaccard_index(matches, within)[0],
    }


@pytest.mark.parametrize("subset", ["all", "crowd_heavy"])
@pytest.mark.parametrize("protocol", ["toolkit", "strict"])
def test_draws_are_the_figures_of_the_images_drawn(protocol, subset):
    own, rival, objects = crowds(protocol)
    within = [one.subsets()[subset] & match.counted for one, match in zip(objects, own)]
    samples = [sample_crowd(one, within, subset, protocol, resamplings=DRAWS, seed=3) for one in (own, rival)]
    draws = np.random.default_rng(3).multinomial(IMAGES, [1 / IMAGES] * IMAGES, size=DRAWS)
    expected = [[one_by_one(one, within, draw, protocol) for draw in draws] for one in (own, rival)]
    for sample, values in zip(samples, expected):
        for name in FIGURES:
            assert sample.drawn[name] == pytest.approx([row[name] for row in values], nan_ok=True), name
    found = crowd_differences(*samples)
    whole = [one_by_one(one, within, np.ones(IMAGES, int), protocol) for one in (own, rival)]
    for one in found:
        assert one.value == pytest.approx(whole[0][one.figure] - whole[1][one.figure])
        apart = [mine[one.figure] - theirs[one.figure] for mine, theirs in zip(*expected)]
        assert one.interval == pytest.approx(np.nanquantile(apart, [0.025, 0.975]))
    assert [one.figure for one in found] == list(FIGURES) and {one.subset for one in found} == {subset}
    assert any(one.value != 0 for one in found) and found[0].interval[0] < found[0].interval[1]


def test_the_same_detections_don_t_differ():
    objects = objects_of(record())[0]
    one = [match_crowd(DETECTIONS, SCORES, objects)]
    sample = sample_crowd(one, [np.ones(3, bool)], "all", "toolkit", resamplings=5)
    assert all(found.value == 0 and found.interval == (0.0, 0.0) for found in crowd_differences(sample, sample))
    # Two of three people are found.
    assert sample.values["recall"] == pytest.approx(200 / 3)


@pytest.mark.parametrize(
    "figure, interval, verdict",
    [
        ("AP", (0.1, 2.0), "better"), ("AP", (-2.0, -0.1), "worse"), ("MR", (0.1, 2.0), "worse"),
        ("MR", (-2.0, -0.1), "better"), ("JI", (-0.1, 2.0), "open"), ("JI", (0.0, 2.0), "open"),
        ("JI", (float("nan"), float("nan")), "open"),
    ],
)  # fmt: skip
def test_verdicts(figure, interval, verdict):
    assert CrowdDifference("all", figure, sum(interval) / 2, interval).verdict == verdict
