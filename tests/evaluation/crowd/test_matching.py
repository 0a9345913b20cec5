"""Matching in a crowd: by hand, and against plain loops on random images."""

import numpy as np
import pytest

from odam_d2.evaluation.crowd.matching import FALSE, IGNORED, SCORE_THRESHOLDS, match_crowd
from tests.evaluation.crowds import (
    DETECTIONS,
    SCORES,
    objects_of,
    plain_pairs,
    plain_people,
    plain_walk,
    random_image,
    record,
)


def match(boxes, scores, people, regions=(), protocol="strict"):
    return match_crowd(boxes, scores, *objects_of(record(people, regions)), protocol=protocol)


def test_five_detections_by_hand():
    matches = match_crowd(DETECTIONS, SCORES, *objects_of(record()), protocol="strict")
    assert matches.taken.tolist() == [0, FALSE, IGNORED, 1, FALSE]
    assert matches.iou[[0, 1, 3], [0, 0, 1]] == pytest.approx([1, 0.8, 80 / 120])
    assert [len(owners) for owners in matches.one_to_one] == [5, 5, 5, 5, 4, 4, 4, 3, 2, 1]
    assert matches.one_to_one[0].tolist() == [0, FALSE, IGNORED, 1, FALSE]


def test_order_of_rows_matters_only_among_equal_scores():
    order = [3, 0, 4, 2, 1]
    shuffled = match_crowd([DETECTIONS[k] for k in order], [SCORES[k] for k in order], *objects_of(record()))
    assert shuffled.taken.tolist() == [0, FALSE, IGNORED, 1, FALSE] and shuffled.scores.tolist() == SCORES
    twice = match([[0, 0, 10, 9], [0, 0, 10, 10]], [0.5, 0.5], [[0, 0, 10, 10]])
    assert twice.taken.tolist() == [0, FALSE]


def test_one_half_is_not_enough():
    # Half of the detection lies in the region, and its IoU with the person is 50 / 100.
    assert match([[0, 0, 10, 5]], [0.5], [[0, 0, 10, 10]]).taken.tolist() == [FALSE]
    assert match([[0, 0, 10, 10]], [0.5], [], [[0, 0, 10, 5]]).taken.tolist() == [FALSE]
    assert match([[0, 0, 10, 10]], [0.5], [], [[0, 0, 10, 5.1]]).taken.tolist() == [IGNORED]


def test_a_person_goes_before_a_region_and_regions_take_any_number():
    matches = match([[0, 0, 10, 9], [0, 0, 10, 10], [1, 1, 9, 9]], [0.9, 0.8, 0.7], [[0, 0, 10, 10]], [[0, 0, 50, 50]])
    assert matches.taken.tolist() == [0, IGNORED, IGNORED]
    assert matches.one_to_one[0].tolist() == [IGNORED, 0, IGNORED]  # the better overlap, whatever the score


def test_the_largest_set_of_pairs_is_larger_than_what_the_walk_finds():
    # The first detection overlaps both people, by 9 / 11 and 8 / 12; the second only the left one, by 7 / 13.
    matches = match([[21, 0, 31, 10], [17, 0, 27, 10]], [0.9, 0.8], [[20, 0, 30, 10], [23, 0, 33, 10]])
    assert matches.taken.tolist() == [0, FALSE]
    assert matches.one_to_one[0].tolist() == [1, 0]


def test_more_pairs_go_before_better_ones():
    # People and detections in a row, 10 wide, 3 apart: two detections could have a person exactly, IoU 1; or all three
    # one with an IoU of 7 / 13 each, which is less together.
    people, boxes = ([[x, 0, x + 10, 10] for x in row] for row in ((20, 23, 26), (17, 20, 23)))
    assert match(boxes, [0.9, 0.8, 0.7], people).one_to_one[0].tolist() == [0, 1, 2]
    # The toolkit takes the two exact ones, 2 > 3 * 7 / 13, and leaves a detection and a person over.
    assert match(boxes, [0.9, 0.8, 0.7], people, protocol="toolkit").one_to_one[0].tolist() == [FALSE, 0, 1]


def test_equals_plain_loops_on_random_images():
    rng, seen = np.random.default_rng(1), set()
    for _ in range(150):
        one, found, scores = random_image(rng)
        matches = match_crowd(found, scores, *objects_of(one), protocol="strict")
        walk = plain_walk(one, found.tolist(), scores.tolist())
        codes = {"false": FALSE, "ignored": IGNORED}
        assert matches.taken.tolist() == [codes.get(outcome, outcome) for _, outcome in walk]
        assert matches.scores.tolist() == [score for score, _ in walk]
        seen.update(str(outcome) for _, outcome in walk)
        order = np.argsort(-scores, kind="stable")
        for threshold, owners in zip(SCORE_THRESHOLDS, matches.one_to_one, strict=True):
            kept = found[order][scores[order] >= threshold].tolist()
            pairs, (boxes, _, _) = plain_pairs(one, kept), plain_people(one)
            assert len(owners) == len(kept)
            mine = {row: int(owner) for row, owner in enumerate(owners) if owner >= 0}
            assert len(mine) == len(pairs) and len(set(mine.values())) == len(mine) <= len(boxes)
            ious = [sum(matches.iou[row, person] for row, person in some.items()) for some in (mine, pairs)]
            assert ious[0] == pytest.approx(ious[1])
    assert {"false", "ignored", "0", "1"} <= seen


def test_nothing_and_nobody():
    nothing = match(np.zeros((0, 4)), [], [[0, 0, 10, 10]])
    assert nothing.taken.shape == (0,) and nothing.iou.shape == (0, 1)
    assert all(owners.shape == (0,) for owners in nothing.one_to_one)
    nobody = match([[0, 0, 10, 10]], [0.5], [])
    assert nobody.taken.tolist() == [FALSE] and nobody.one_to_one[0].tolist() == [FALSE]
    assert nobody.one_to_one[6].tolist() == []


@pytest.mark.parametrize(
    "boxes, scores, threshold, message",
    [
        ([[0, 0, 1, 1]], [0.5, 0.4], 0.5, r"`scores` must be \(1,\).*got \(2,\)"),
        ([[0, 0, 1, float("nan")]], [0.5], 0.5, "must be finite"),
        ([[0, 0, 1, 1]], [float("inf")], 0.5, "must be finite"),
        ([[0, 0, 1, 1]], [0.5], 1.0, r"`iou_threshold` must be in \[0, 1\); got 1.0"),
    ],
)
def test_what_does_not_fit_is_named(boxes, scores, threshold, message):
    with pytest.raises(ValueError, match=message):
        match_crowd(boxes, scores, *objects_of(record()), threshold)
