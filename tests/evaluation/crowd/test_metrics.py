"""AP, MR^-2 and JI by the strict protocol: five detections by hand, borders, and what each definition decides."""

import math
from functools import partial

import numpy as np
import pytest

from odam_d2.evaluation.crowd import matching, metrics
from odam_d2.evaluation.crowd.curves import REFERENCE_FPPI, TOOLKIT_FPPI
from odam_d2.evaluation.crowd.metrics import jaccard_index, pool_matches
from tests.evaluation.crowds import DETECTIONS, SCORES, objects_of, record

match_crowd = partial(matching.match_crowd, protocol="strict")
average_precision = partial(metrics.average_precision, protocol="strict")
log_average_miss_rate = partial(metrics.log_average_miss_rate, protocol="strict")

FOUND = [True, False, True, False]  # of the five, without the ignored one
COUNTED = [0.95, 0.85, 0.65, 0.35]


@pytest.fixture
def five():
    return match_crowd(DETECTIONS, SCORES, *objects_of(record()), protocol="strict")


def test_five_detections_by_hand(five):
    scores, found = pool_matches([five], [np.ones(3, dtype=bool)])
    assert scores.tolist() == COUNTED and found.tolist() == FOUND
    # Recall 1/3 at precision 1, 2/3 at 2/3; the third person is never found.
    assert average_precision(scores, found, 3) == pytest.approx(1 / 3 + 1 / 3 * 2 / 3)
    # One image: at up to .56 false positives only the first detection passes, 2/3 are missed; at 1 the fourth does.
    assert log_average_miss_rate(scores, found, 3, 1) == pytest.approx((2 / 3) ** (8 / 9) * (1 / 3) ** (1 / 9))
    # At .4 the last false one is gone: 2 pairs, 3 people and 3 detections that count, 2 / (3 + 3 - 2).
    assert jaccard_index([five]) == (0.5, 0.4)


def test_a_subset_by_hand(five):
    # Of the second person alone: who finds the first one counts neither way, and both false positives stay.
    members = np.array([False, True, False])
    scores, found = pool_matches([five], [members])
    assert scores.tolist() == [0.85, 0.65, 0.35] and found.tolist() == [False, True, False]
    assert average_precision(scores, found, 1) == 1 / 2
    # Up to .56 false positives an image nothing passes; at 1 the person is found, and missed at the floor of 1e-10.
    assert log_average_miss_rate(scores, found, 1, 1) == pytest.approx(1e-10 ** (1 / 9))
    assert jaccard_index([five], [members]) == (1 / 2, 0.4)


def test_somebody_in_front_does_not_find_somebody_behind():
    # One detection, exactly of the one in front; it overlaps the one behind by 8 / 12 as well.
    matches = match_crowd([[0, 0, 10, 10]], [0.9], *objects_of(record([[0, 0, 10, 10], [2, 0, 12, 10]])))
    scores, found = pool_matches([matches], [np.array([False, True])])
    assert len(scores) == len(found) == 0
    assert jaccard_index([matches], [np.array([False, True])])[0] == 0.0


def test_reference_points():
    assert REFERENCE_FPPI == pytest.approx([0.01, 0.0178, 0.0316, 0.0562, 0.1, 0.1778, 0.3162, 0.5623, 1], abs=1e-4)
    assert REFERENCE_FPPI == pytest.approx(TOOLKIT_FPPI, abs=5e-5)
    assert [REFERENCE_FPPI[k] for k in (0, 4, 8)] == [0.01, 0.1, 1.0]  # to the last bit, on any machine


@pytest.mark.parametrize("images, missed", [(100, 0), (10, 4), (11, 4), (9, 5), (1, 8)])
def test_as_many_false_positives_as_a_reference_point_has_are_not_too_many(images, missed):
    """One false positive before the only person: below 1 / images, at so many of the nine points, nobody is found."""
    rate = log_average_miss_rate([0.9, 0.8], [False, True], 1, images)
    assert rate == pytest.approx(1e-10 ** ((9 - missed) / 9))


def test_false_positives_a_image_are_of_all_images():
    # 100 images: one false positive is .01 an image, which the first two of the nine points (.01, .0178) allow, and
    # one of two people is missed; two are .02, for the other seven, and nobody is.
    scores, found = [0.9, 0.8, 0.7, 0.6], [False, True, False, True]
    expected = (1 / 2) ** (2 / 9) * 1e-10 ** (7 / 9)
    assert log_average_miss_rate(scores, found, 2, 100) == pytest.approx(expected)


def test_equal_scores_stand_or_fall_together():
    for found in ([True, False], [False, True]):
        assert average_precision([0.5, 0.5], found, 1) == 1 / 2
        assert log_average_miss_rate([0.5, 0.5], found, 1, 1) == pytest.approx(1e-10 ** (1 / 9))


def test_precision_falls_with_recall():
    # Precision 0, 1/2, 2/3 at recall 0, 1/2, 1: 2/3 throughout.
    assert average_precision([0.9, 0.8, 0.7], [False, True, True], 2) == pytest.approx(2 / 3)


def test_perfect_and_nothing():
    assert average_precision([0.9, 0.8], [True, True], 2) == 1.0
    assert log_average_miss_rate([0.9, 0.8], [True, True], 2, 1) == pytest.approx(1e-10)
    assert average_precision([], [], 2) == 0.0 and log_average_miss_rate([], [], 2, 1) == 1.0


def test_without_people_there_is_no_figure():
    nobody = match_crowd(DETECTIONS, SCORES, *objects_of(record([])))
    assert math.isnan(average_precision([0.9], [False], 0)) and math.isnan(log_average_miss_rate([0.9], [False], 0, 1))
    assert math.isnan(jaccard_index([nobody])[0]) and jaccard_index([nobody])[1] is None
    assert math.isnan(jaccard_index([])[0])


def test_ji_is_a_mean_over_images_with_anybody_or_anything(five):
    perfect = match_crowd([[0, 0, 10, 10]], [0.9], *objects_of(record([[0, 0, 10, 10]])))
    empty = match_crowd(np.zeros((0, 4)), [], *objects_of(record([])))
    false = match_crowd([[0, 0, 10, 10]], [0.9], *objects_of(record([])))
    assert jaccard_index([five, perfect, empty]) == (pytest.approx((0.5 + 1) / 2), 0.4)
    assert jaccard_index([five, perfect, false]) == (pytest.approx((0.5 + 1 + 0) / 3), 0.4)


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"`scores` and `found` must be \(N,\).*\(2,\) and \(1,\)"):
        average_precision([0.5, 0.4], [True], 1)
