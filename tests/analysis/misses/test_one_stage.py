"""Each mechanism of a one-stage detector, forced by hand; all numbers are worked out in the comments."""

import pytest

from odam_d2.analysis.misses import MissFinder, MissRules
from tests.analysis.misses.detectors import BLACK, objects, one_stage

NAMES = ("cat", "dog", "car", "bus")
# RetinaNet's first level has a cell every 8 pixels, with anchors of 32, 40.3 and 50.8 pixels a side around its corner:
# number 1 and 4 of the nine are the squares of 32 and 40.3. FCOS's locations are the middles of these cells, those in
# AdelaiDet's manner the middles of cells of 4 pixels.
SQUARE_32, SQUARE_40 = 1, 4
HERE = (0, 6, 8)  # (64, 48)
STAY = (0.0, 0.0, 0.0, 0.0)
PLACE = [48, 32, 80, 64]


def miss(model, box=PLACE, label=0, others=(), rules=None):
    """The one miss of an object; `others` are (box, class) of what else is annotated."""
    truth = objects([box, *(one for one, _ in others)], [label, *(one for _, one in others)])
    ((found,),) = MissFinder(model, rules, NAMES, compare_maps=False)([BLACK], [truth], [[0]])
    return found


def at(kind, label, score, box=PLACE):
    """Something said of a box: by RetinaNet's anchor of 32 pixels at (64, 48), which it is, or by a location inside."""
    if kind == "retinanet":
        return (*HERE, SQUARE_32, label, score, STAY)
    # Distances in strides, of 8 pixels from (68, 52), and of 4 from (62, 46).
    stride, x, y, place = (8, 68, 52, HERE) if kind == "fcos" else (4, 62, 46, (0, 11, 15))
    sides = ((x - box[0]) / stride, (y - box[1]) / stride, (box[2] - x) / stride, (box[3] - y) / stride)
    return (*place, 0, label, score, sides)


KINDS = ("retinanet", "fcos", "own")


def test_no_anchor_is_near():
    """The best for 16 x 16 pixels is the square of 32 around them: 256 / 1024."""
    found = miss(one_stage("retinanet", [(*HERE, SQUARE_32, 0, 0.9, STAY)]), [56, 40, 72, 56])
    assert (found.mechanism, found.stage) == ("no_candidate", "anchors")
    evidence = found.evidence
    assert (evidence.start_iou, evidence.start_rank) == (pytest.approx(0.25, abs=1e-5), 1)
    # Of the anchors that hold it the one that was said something of.
    assert evidence.start_score == pytest.approx(0.9) and evidence.box_iou == pytest.approx(0.25, abs=1e-5)
    assert found.sentence == "The best anchor overlaps it by .25, and in the end no box fits it."


@pytest.mark.parametrize("kind, box, iou", [("fcos", [61, 45, 67, 51], 36 / 49), ("own", [63, 47, 64, 48], 1 / 4)])
def test_locations_reach_what_they_are_near(kind, box, iou):
    """The smallest box around the location at (68, 52), or (62, 46), and the object: 7 x 7, or 2 x 2 pixels."""
    found = miss(one_stage(kind, [at(kind, 0, 0.9)]), box)
    assert found.evidence.start_iou == pytest.approx(iou)
    if iou < 0.5:
        assert (found.mechanism, found.stage) == ("no_candidate", "locations")
        assert (
            found.sentence == "The best box that a location can make overlaps it by .25, and in the end no box fits it."
        )
    else:
        assert (found.mechanism, found.stage) == ("regressed_away", "box_regression")


def test_a_box_was_regressed_away():
    """Every anchor shrinks to a twentieth: the largest, of 812.7 pixels, to 40 x 40 or 57 x 29 elsewhere."""
    found = miss(one_stage("retinanet", [], moved=(0.0, 0.0, -3.0, -3.0)))
    assert (found.mechanism, found.stage) == ("regressed_away", "box_regression")
    assert found.evidence.start_iou == pytest.approx(1.0) and found.evidence.box_iou < 0.5
    assert found.sentence.startswith(
        "An anchor overlaps it by 1.00, but the box regression left no box there: the best"
    )


@pytest.mark.parametrize("kind", ("fcos", "own"))
def test_a_location_makes_a_box_of_no_size(kind):
    found = miss(one_stage(kind, []))
    assert (found.mechanism, found.stage) == ("regressed_away", "box_regression")
    assert (found.evidence.start_iou, found.evidence.box_iou) == (1.0, 0.0)
    assert found.sentence == (
        "A box that a location could make overlaps it by 1.00, but the box regression left no box there: the best then "
        "overlaps it by .00."
    )


@pytest.mark.parametrize("kind", KINDS)
def test_it_was_given_another_class(kind):
    found = miss(one_stage(kind, [at(kind, 1, 0.8)]))
    assert (found.mechanism, found.stage) == ("other_class", "score_filter")
    evidence = found.evidence
    assert (evidence.preferred_class, evidence.class_rank, evidence.background_score) == (1, 2, None)
    assert (evidence.preferred_score, evidence.margin) == pytest.approx((0.8, 0.8), abs=1e-4)
    assert found.sentence == "A box that overlaps it by 1.00 was taken for dog (.80), not cat (.00)."


@pytest.mark.parametrize("kind", KINDS)
def test_it_was_called_background(kind):
    found = miss(one_stage(kind, [at(kind, 0, 0.04)]))
    assert (found.mechanism, found.stage) == ("background", "score_filter")
    evidence = found.evidence
    assert (evidence.score, evidence.box_iou) == pytest.approx((0.04, 1.0), abs=1e-4)
    assert (evidence.background_score, evidence.margin, evidence.class_rank) == (None, None, 1)
    assert found.sentence == (
        "A box that overlaps it by 1.00 was called background: no class scores more than .04 there, cat .04."
    )
    # Where less is asked for, it is a score as any.
    found = miss(one_stage(kind, [at(kind, 0, 0.04)]), rules=MissRules(background_score=0.03))
    assert found.mechanism == "low_score"


@pytest.mark.parametrize("kind", KINDS)
def test_its_score_was_below_the_threshold(kind):
    found = miss(one_stage(kind, [at(kind, 0, 0.4)], threshold=0.5))
    assert (found.mechanism, found.stage) == ("low_score", "score_filter")
    assert (found.evidence.score, found.evidence.threshold) == pytest.approx((0.4, 0.5), abs=1e-4)
    # Another class is preferred, below the threshold too: it is told.
    model = one_stage(kind, [at(kind, 0, 0.4), at(kind, 1, 0.1)], threshold=0.5)
    found = miss(model, label=1)
    assert (found.mechanism, found.evidence.preferred_class) == ("low_score", 0)
    assert found.evidence.margin == pytest.approx(0.3, abs=1e-4)


def test_an_anchor_was_suppressed_by_its_neighbour():
    """Squares of 32 and 40.3 pixels around one point: 1024 / 1624.09 = .6305. The object is 20 pixels wide."""
    said = [(*HERE, SQUARE_32, 0, 0.6, STAY), (*HERE, SQUARE_40, 0, 0.7, STAY)]
    found = miss(one_stage("retinanet", said), [54, 32, 74, 64])
    assert (found.mechanism, found.stage, found.evidence.neighbour) == ("suppressed", "nms", 0)
    evidence = found.evidence
    numbers = (evidence.neighbour_iou, evidence.neighbour_score, evidence.score, evidence.box_iou)
    assert numbers == pytest.approx((0.6305, 0.7, 0.6, 640 / 1024), abs=1e-4)
    assert evidence.neighbour_box == pytest.approx([43.85, 27.85, 84.15, 68.15], abs=1e-3)
    # Were the other of another class, nothing would suppress it: detected, it counts for something else.
    said[1] = (*HERE, SQUARE_40, 1, 0.7, STAY)
    assert miss(one_stage("retinanet", said), [54, 32, 74, 64]).evidence.taken == (1,)


@pytest.mark.parametrize("kind", ("fcos", "own"))
def test_a_location_was_suppressed_by_its_neighbour(kind):
    """Two locations, the second 8 pixels to the right, whose box of 32 x 32 begins there: 24 / 40 = .6."""
    _, row, column = HERE if kind == "fcos" else (0, 11, 15)
    near = at(kind, 0, 0.7)
    said = [at(kind, 0, 0.6), (0, row, column + (1 if kind == "fcos" else 2), *near[3:])]
    found = miss(one_stage(kind, said), [40, 32, 72, 64])
    assert (found.mechanism, found.stage, found.evidence.neighbour) == ("suppressed", "nms", 0)
    evidence = found.evidence
    numbers = (evidence.neighbour_iou, evidence.neighbour_score, evidence.score, evidence.box_iou)
    assert numbers == pytest.approx((0.6, 0.7, 0.6, 0.6), abs=1e-4)
    assert evidence.neighbour_box == pytest.approx([56, 32, 88, 64], abs=1e-3)


def elsewhere(kind, row, score):
    """Something said of a box far from the object, at the first level."""
    row, column = (row, 1) if kind == "own" else (row // 2, 1)
    return (0, row, column, SQUARE_32 if kind == "retinanet" else 0, 0, score, at(kind, 0, 0.5)[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_it_was_not_among_the_best_of_its_level(kind):
    model = one_stage(kind, [at(kind, 0, 0.6), elsewhere(kind, 20, 0.9)], topk=1)
    found = miss(model)
    assert (found.mechanism, found.stage, found.evidence.limit) == ("suppressed", "pre_nms_topk", 1)
    assert found.sentence == (
        "A box that overlaps it by 1.00 (score .60) was not among the 1 best of its level, which non-max suppression "
        "compares."
    )


@pytest.mark.parametrize("kind", KINDS)
def test_it_was_left_when_the_best_detections_were_taken(kind):
    model = one_stage(kind, [at(kind, 0, 0.6), elsewhere(kind, 20, 0.9)], most=1)
    found = miss(model)
    assert (found.mechanism, found.stage, found.evidence.limit) == ("suppressed", "max_detections", 1)


def test_a_head_whose_settings_do_not_explain_its_detections_is_not_guessed_at():
    model = one_stage("own", [at("own", 0, 0.6), elsewhere("own", 20, 0.9)])
    model.proposal_generator.fcos_outputs.post_nms_topk_test = 1  # and yet there are two
    found = miss(model, label=1)
    assert (found.mechanism, found.stage) == ("unknown", "choice")
    assert found.evidence.box_iou == pytest.approx(1.0) and found.evidence.detection_class == 0
