"""The rules of CrowdHuman's toolkit: one by one by hand, and all of them against a plain twin on random crowds."""

import math

import numpy as np
import pytest

from odam_d2.evaluation.crowd.matching import FALSE, IGNORED, match_crowd
from odam_d2.evaluation.crowd.metrics import average_precision, jaccard_index, log_average_miss_rate
from odam_d2.evaluation.crowd.protocol import PROTOCOLS, find_protocol
from odam_d2.evaluation.crowd.table import crowd_table
from tests.evaluation import toolkit_twin
from tests.evaluation.crowds import DETECTIONS, SCORES, objects_of, record

SIZE = (48, 40)  # h, w
# Sums of the same numbers in another order: a few hundred terms of at most 1, each off by at most 1e-16.
SUMMED = {"rel": 1e-11, "abs": 1e-11}


def boxes_at_random(rng, count, low=-12, high=44):
    corners = rng.uniform(low, high, (count, 2))
    return np.concatenate([corners, corners + rng.uniform(3, 18, (count, 2))], axis=1)


# (people, regions, detections) at a border of .5, in exact numbers: a detection that is half a person, one of which
# half lies in a region, and a person of whom half does. None of them is *more* than half.
BORDERS = [
    ([[2.0, 2, 12, 22]], [], [[2.0, 2, 12, 12]]),
    ([], [[20.0, 20, 30, 40]], [[15.0, 20, 25, 40]]),
    ([[15.0, 20, 25, 40]], [[20.0, 20, 30, 40]], []),
    ([[15.0, 20, 25, 40]], [[19.0, 20, 30, 40]], []),  # six tenths: JI leaves the person out
]


def random_crowd(rng, image_id):
    """A record and detections: people and regions also beyond the image, equal scores, now and then none of a kind."""
    full = boxes_at_random(rng, rng.integers(0, 5))
    neighbours = full[: rng.integers(0, 3)] + rng.uniform(-3, 3, (1, 4))
    full = np.concatenate([full, neighbours[(neighbours[:, :2] < neighbours[:, 2:] - 1).all(1)]])
    regions = boxes_at_random(rng, rng.integers(0, 3))
    near = np.concatenate([full, full[: len(full) // 2], regions])
    found = np.concatenate([near + rng.uniform(-2, 2, near.shape), full[:1], boxes_at_random(rng, rng.integers(0, 4))])
    found = found[rng.permutation(len(found))][: rng.integers(0, 9)]
    found = found[(found[:, :2] < found[:, 2:]).all(1)]
    people, regions, found = full.tolist(), regions.tolist(), found.tolist()
    if rng.random() < 0.4:
        more = BORDERS[rng.integers(len(BORDERS))]
        people, regions, found = people + more[0], regions + more[1], found + more[2]
    seen = [[x1, y1, x2, y1 + (y2 - y1) * rng.choice([1, 0.92, 0.8, 0.4])] for x1, y1, x2, y2 in people]
    scores = (rng.integers(0, 21, len(found)) / 20).tolist()
    return record(list(zip(people, seen)), regions, SIZE, image_id), (found, scores)


@pytest.mark.parametrize("seed", range(16))
def test_equals_the_twin_on_random_crowds(seed):
    rng = np.random.default_rng(seed)
    records, detections = zip(*(random_crowd(rng, k) for k in range(rng.integers(1, 14))))
    objects = objects_of(*records)
    table = crowd_table(detections, objects)
    for subset, row in table.items():
        members = [one.subsets()[subset].tolist() for one in objects]
        expected = toolkit_twin.table(records, detections, members)
        assert row["objects"] == sum(map(sum, members))
        assert row["JI_score"] == expected.pop("JI_score"), subset
        assert {key: row[key] for key in expected} == pytest.approx(expected, nan_ok=True, **SUMMED), subset


def test_random_crowds_hold_what_can_go_wrong():
    """What the comparison above has seen, so that it can fail."""
    rng, seen = np.random.default_rng(0), set()
    for number in range(200):
        image, (found, scores) = random_crowd(rng, number)
        people, regions, cuts = toolkit_twin.unpack(image, (found, scores))
        outcomes = toolkit_twin.walk(people, regions, cuts)
        seen |= {
            "nobody" if not people else "",
            "nothing" if not found else "",
            "neither" if not people + found else "",
        }
        seen |= {str(one) for one in outcomes} | ({"equal scores"} if len(set(scores)) < len(scores) else set())
        seen |= {"person outside" for box in people if not toolkit_twin.area(box)}
        seen |= {"detection outside" for _, box in cuts if not toolkit_twin.area(box)}
        seen |= {"strip" for box in people if box[2] - box[0] == 1 or box[3] - box[1] == 1}
        seen |= {"half a person" for _, box in cuts for other in people if toolkit_twin.iou(box, other) == 0.5}
        seen |= {"excused" for box in people if toolkit_twin.covered(box, regions)}
        seen |= {"score on a threshold" for score in scores if score in (0.1, 0.5)}
    assert seen >= {
        "nobody", "nothing", "neither", "0", "1", "region", "false", "equal scores", "person outside", "strip",
        "detection outside", "half a person", "excused", "score on a threshold",
    }  # fmt: skip


def test_five_detections_by_hand():
    row = crowd_table([(DETECTIONS, SCORES)], objects_of(record()))["all"]
    # Found, false, found, false of three people: recall 1/3, 1/3, 2/3, 2/3 at precision 1, 1/2, 2/3, 1/2. Recall grows
    # once, by 1/3, between precisions 1/2 and 2/3; what is below the first point doesn't count.
    assert row["AP"] == pytest.approx(100 * 1 / 3 * (1 / 2 + 2 / 3) / 2)
    # One image: the second detection is the first with at least .01 false positives, and with all up to 1.
    assert row["MR"] == pytest.approx(100 * 2 / 3)
    assert row["recall"] == pytest.approx(100 * 2 / 3) and (row["JI"], row["JI_score"]) == (50.0, 0.4)


def test_boxes_end_a_pixel_before_the_edge_they_begin_at():
    toolkit, strict = PROTOCOLS["toolkit"], PROTOCOLS["strict"]
    outside = np.array([[45.0, 50, 60, 70], [-9.0, -9, -1, -1], [-5.0, 10, 20, 60]])
    assert toolkit.clip(outside, SIZE).tolist() == [[39, 47, 40, 48], [0, 0, 0, 0], [0, 10, 20, 48]]
    assert strict.clip(outside, SIZE).tolist() == [[40, 48, 40, 48], [0, 0, 0, 0], [0, 10, 20, 48]]


def test_people_outside_the_image_are_to_be_found():
    """To the right of it a strip is left, which a detection there has as well; to the left there is nothing."""
    image = record([[45.0, 10, 60, 30], [-20.0, 10, -5, 30]], (), SIZE)
    detections = [([[50.0, 10, 70, 30], [-20.0, 10, -5, 30]], [0.9, 0.8])]
    row = crowd_table(detections, objects_of(image))["all"]
    assert (row["objects"], row["recall"]) == (2, 50.0)
    strict = crowd_table(detections, objects_of(image), protocol="strict")["all"]
    assert strict["objects"] == 0 and math.isnan(strict["AP"])


def test_the_curve_is_raw():
    # (recall, precision) = (0, 0), (1/2, 1/2), (1, 2/3): 1/2 * (0 + 1/2) / 2 + 1/2 * (1/2 + 2/3) / 2.
    scores, found = [0.9, 0.8, 0.7], [False, True, True]
    assert average_precision(scores, found, 2) == pytest.approx(1 / 8 + 7 / 24)
    # Of equal scores the earlier one is a point of its own.
    assert average_precision([0.5, 0.5], [True, False], 1) == 0.0
    assert average_precision([0.5, 0.5], [False, True], 1) == pytest.approx((0 + 1 / 2) / 2)
    assert average_precision([0.9, 0.8], [True, True], 2) == 1 / 2  # perfect, but for what is below the first point
    assert average_precision([], [], 2) == 0.0 and average_precision([0.9], [True], 1) == 0.0
    assert math.isnan(average_precision([0.9], [False], 0))


def test_miss_rates_are_read_at_the_first_point_with_so_many_false_positives():
    # 100 images, 2 people: after the second detection there is .01 false positives an image, and one person is missed;
    # after the fourth .02, and nobody is. .0178 and all beyond are read at the fourth, the last, for want of another.
    scores, found = [0.9, 0.8, 0.7, 0.6], [True, False, True, False]
    assert log_average_miss_rate(scores, found, 2, 100) == 0.0
    assert log_average_miss_rate(scores[:2], found[:2], 2, 100) == pytest.approx(1 / 2)
    assert log_average_miss_rate(scores, found, 4, 100) == pytest.approx((3 / 4) ** (1 / 9) * (1 / 2) ** (8 / 9))
    assert log_average_miss_rate([], [], 2, 100) == 1.0 and math.isnan(log_average_miss_rate([], [], 0, 1))
    # .0316 is short of ten to the -1.5: 79 false positives in 2500 images are enough.
    many = [True] + [False] * 79 + [True]
    assert 79 / 2500 < 10**-1.5
    at = log_average_miss_rate(np.linspace(1, 0, 81), many, 4, 2500)
    assert at == pytest.approx((3 / 4) ** (3 / 9) * (1 / 2) ** (6 / 9))


def test_ji_leaves_out_people_that_regions_cover_unless_they_are_found():
    people, region = [[0.0, 0, 10, 10], [20.0, 0, 30, 10]], [0.0, 0, 10, 6]
    image = record(people, [region], SIZE)
    other = ([[20.0, 0, 30, 10]], [0.9])
    assert crowd_table([other], objects_of(image))["all"]["JI"] == 100.0
    assert crowd_table([other], objects_of(image), protocol="strict")["all"]["JI"] == 50.0
    both = ([[20.0, 0, 30, 10], [0.0, 0, 10, 10], [0.0, 0, 10, 4]], [0.9, 0.8, 0.7])  # the last lies in the region
    assert crowd_table([both], objects_of(image))["all"]["JI"] == 100.0
    # Where a region covers everybody and nothing is found, there is no index at all.
    covered = match_crowd(np.zeros((0, 4)), [], *objects_of(record(people[:1], [region], SIZE)))
    assert jaccard_index([covered])[1] is None and math.isnan(jaccard_index([covered])[0])


def test_ji_takes_scores_above_its_thresholds():
    image = record([[0.0, 0, 10, 10]], (), SIZE)
    detections = [([[0.0, 0, 10, 10], [20.0, 20, 30, 30]], [0.5, 0.4])]
    assert crowd_table(detections, objects_of(image))["all"]["JI_score"] == 0.4
    zero = [([[0.0, 0, 10, 10]], [0.0])]
    assert crowd_table(zero, objects_of(image))["all"]["JI"] == 0.0
    assert crowd_table(zero, objects_of(image), protocol="strict")["all"]["JI"] == 100.0


def test_a_person_goes_before_a_region():
    matches = match_crowd(
        [[0, 0, 10, 9], [0, 0, 10, 10], [60, 60, 70, 70]], [0.9, 0.8, 0.7],
        *objects_of(record([[0, 0, 10, 10]], [[0, 0, 50, 50]])),
    )  # fmt: skip
    assert matches.taken.tolist() == [0, IGNORED, FALSE]


def test_an_unknown_protocol_is_named():
    with pytest.raises(ValueError, match=r"`protocol` must be one of \['strict', 'toolkit'\]; got 'coco'"):
        find_protocol("coco")
    with pytest.raises(ValueError, match="got 'coco'"):
        crowd_table([], [], protocol="coco")
