"""Each mechanism of a two-stage detector, forced by hand; all numbers are worked out in the comments."""

import pytest

from odam_d2.analysis.misses import MissFinder, MissRules
from tests.analysis.misses.detectors import BLACK, objects, two_stage

KINDS = ("faster_rcnn", "cascade_rcnn", "own")
# 40 x 40 pixels. Shifted by 8 it overlaps itself by 32 / 48 = .667, by 16 by 24 / 56 = .429, by 20 by 20 / 60 = .333.
PLACE = [20, 20, 60, 60]
RIGHT_8, RIGHT_16, RIGHT_20 = [28, 20, 68, 60], [36, 20, 76, 60], [40, 20, 80, 60]
FAR = [80, 40, 120, 80]


def miss(model, box=PLACE, label=0, others=(), rules=None):
    """The one miss of an object; `others` are (box, class) of what else is annotated."""
    truth = objects([box, *(one for one, _ in others)], [label, *(one for _, one in others)])
    ((found,),) = MissFinder(model, rules, ("cat", "dog", "car"), compare_maps=False)([BLACK], [truth], [[0]])
    return found


def last(kind, number=3):
    return f"box_head_{number}" if kind == "cascade_rcnn" else "box_head"


@pytest.mark.parametrize("kind", KINDS)
def test_no_proposal_is_near(kind):
    found = miss(two_stage([FAR, RIGHT_20], [[0.9, 0.05, 0.02, 0.03]] * 2, kind=kind))
    assert (found.mechanism, found.stage) == ("no_candidate", "proposals")
    # The second of the proposals is the nearer one; sigmoid(-1) = .2689.
    assert found.evidence.start_iou == pytest.approx(1 / 3)
    assert (found.evidence.start_rank, found.evidence.start_score) == (2, pytest.approx(0.26894, abs=1e-5))
    assert found.evidence.box_iou == pytest.approx(1 / 3)
    assert found.sentence == "The best proposal overlaps it by .33, and in the end no box fits it."


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_no_proposal(kind):
    found = miss(two_stage([], [], kind=kind))
    assert (found.mechanism, found.stage, found.evidence.start_iou) == ("no_candidate", "proposals", None)
    assert found.sentence == "There is no proposal."


@pytest.mark.parametrize("kind", KINDS)
def test_the_box_was_regressed_away(kind):
    """By half its width, 20 pixels; in a cascade by the second stage."""
    moves = [[[0.0, 0.0]], [[0.5, 0.0]], [[0.0, 0.0]]] if kind == "cascade_rcnn" else [[[0.5, 0.0]]]
    found = miss(two_stage([PLACE], [[0.9, 0.05, 0.02, 0.03]], moves, kind))
    stage = last(kind, 2)
    assert (found.mechanism, found.stage) == ("regressed_away", stage)
    assert found.evidence.box_iou == pytest.approx(1 / 3, abs=1e-5)
    ious = {"proposals": 1, "box_head_1": 1, "box_head_2": 1 / 3, "box_head_3": 1 / 3}
    ious = ious if kind == "cascade_rcnn" else {"proposals": 1, "box_head": 1 / 3}
    assert found.evidence.step_ious == pytest.approx(ious, abs=1e-5)
    near, mover = ("A box", "box head 2") if kind == "cascade_rcnn" else ("A proposal", "the box head")
    assert (
        found.sentence
        == f"{near} overlaps it by 1.00, but {mover} left no box there: the best then overlaps it by .33."
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_box_that_begins_elsewhere_and_fits_in_the_end_has_reached_the_object(kind):
    """The proposal, 20 pixels off, is moved back; its score is below the threshold."""
    moves = [[[-0.5, 0.0]], [[0.0, 0.0]], [[0.0, 0.0]]]
    found = miss(two_stage([RIGHT_20], [[0.4, 0.3, 0.1, 0.2]], moves, kind, threshold=0.5))
    assert (found.mechanism, found.stage) == ("low_score", "score_filter")
    assert found.evidence.start_iou == pytest.approx(1 / 3) and found.evidence.box_iou == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_it_was_given_another_class(kind):
    found = miss(two_stage([RIGHT_8], [[0.04, 0.7, 0.02, 0.24]], kind=kind))
    assert (found.mechanism, found.stage) == ("other_class", "score_filter")
    evidence = found.evidence
    assert (evidence.preferred_class, evidence.class_rank) == (1, 2)
    numbers = (evidence.preferred_score, evidence.score, evidence.margin, evidence.background_score, evidence.box_iou)
    assert numbers == pytest.approx((0.7, 0.04, 0.66, 0.24, 2 / 3), abs=1e-5)
    assert found.sentence == "A box that overlaps it by .67 was taken for dog (.70), not cat (.04)."
    # The detection says so too.
    assert (evidence.detection, evidence.detection_class) == (0, 1)
    assert (evidence.detection_iou, evidence.detection_score) == pytest.approx((2 / 3, 0.7), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_box_that_is_another_objects_says_nothing_of_this_one(kind):
    """The dog lies at the box itself, the cat 8 pixels beside it, so that the box is the dog's."""
    scores = [[0.02, 0.7, 0.03, 0.25]]
    assert miss(two_stage([RIGHT_8], scores, kind=kind)).mechanism == "other_class"
    found = miss(two_stage([RIGHT_8], scores, kind=kind), others=[(RIGHT_8, 1)])
    assert (found.mechanism, found.evidence.background_score) == ("background", pytest.approx(0.25, abs=1e-5))
    # An object of yet another class changes nothing.
    assert miss(two_stage([RIGHT_8], scores, kind=kind), others=[(RIGHT_8, 2)]).mechanism == "other_class"


@pytest.mark.parametrize("kind", KINDS)
def test_it_was_called_background(kind):
    found = miss(two_stage([RIGHT_8, PLACE], [[0.02, 0.01, 0.01, 0.96], [0.04, 0.02, 0.01, 0.93]], kind=kind))
    assert (found.mechanism, found.stage) == ("background", "score_filter")
    evidence = found.evidence
    # The second proposal scores more for the cat.
    numbers = (evidence.box_iou, evidence.score, evidence.background_score, evidence.margin, evidence.threshold)
    assert numbers == pytest.approx((1, 0.04, 0.93, 0.89, 0.05), abs=1e-5)
    assert (evidence.class_rank, evidence.preferred_class) == (1, None)
    assert found.sentence == "A box that overlaps it by 1.00 was called background (.93), not cat (.04)."


@pytest.mark.parametrize("kind", KINDS)
def test_it_was_suppressed_by_a_neighbour(kind):
    """8 pixels to the left of the worse of two boxes, so that only that one fits."""
    scores = [[0.8, 0.1, 0.05, 0.05], [0.6, 0.2, 0.1, 0.1]]
    found = miss(two_stage([RIGHT_8, PLACE], scores, kind=kind), [12, 20, 52, 60])
    assert (found.mechanism, found.stage) == ("suppressed", "nms")
    evidence = found.evidence
    assert (evidence.neighbour, evidence.neighbour_class) == (0, 0)
    numbers = (evidence.neighbour_iou, evidence.neighbour_score, evidence.score, evidence.box_iou, evidence.limit)
    assert numbers == pytest.approx((2 / 3, 0.8, 0.6, 2 / 3, 0.5), abs=1e-5)
    assert evidence.neighbour_box == pytest.approx(RIGHT_8, abs=1e-3) and evidence.taken == ()
    assert found.sentence == (
        "A box that overlaps it by .67 (score .60) was suppressed by detection 0 (score .80), which overlaps that box "
        "by .67."
    )


@pytest.mark.parametrize("kind", KINDS)
def test_it_was_suppressed_by_what_found_its_neighbour(kind):
    """Both boxes fit the object, but the better one counts for the neighbour."""
    scores = [[0.8, 0.1, 0.05, 0.05], [0.6, 0.2, 0.1, 0.1]]
    found = miss(two_stage([RIGHT_8, PLACE], scores, kind=kind), others=[(RIGHT_8, 0)])
    assert (found.mechanism, found.stage, found.evidence.neighbour) == ("suppressed", "nms", 0)
    assert found.evidence.taken == (0,) and found.evidence.box_iou == pytest.approx(1, abs=1e-5)
    assert found.sentence.endswith("by .67. Detection 0 fits it too, but counts for another object.")


@pytest.mark.parametrize("kind", KINDS)
def test_no_box_is_left_where_another_object_took_the_only_one(kind):
    found = miss(two_stage([PLACE, FAR], [[0.8, 0.1, 0.05, 0.05]] * 2, kind=kind), RIGHT_8, others=[(PLACE, 0)])
    assert (found.mechanism, found.stage, found.evidence.start_iou) == ("no_candidate", "proposals", 0.0)
    assert found.sentence == (
        "The best proposal overlaps it by .00, and in the end no box fits it. Detection 0 fits it too, but counts for "
        "another object."
    )


@pytest.mark.parametrize("kind", KINDS)
def test_it_was_left_when_the_best_detections_were_taken(kind):
    found = miss(two_stage([FAR, PLACE], [[0.8, 0.1, 0.05, 0.05], [0.6, 0.1, 0.1, 0.2]], kind=kind, most=1))
    assert (found.mechanism, found.stage) == ("suppressed", "max_detections")
    assert (found.evidence.limit, found.evidence.neighbour) == (1, None)
    assert (
        found.sentence == "A box that overlaps it by 1.00 (score .60) was left when the 1 best detections were taken."
    )


@pytest.mark.parametrize("kind", KINDS)
def test_its_score_was_below_the_threshold(kind):
    found = miss(two_stage([PLACE], [[0.45, 0.2, 0.05, 0.3]], kind=kind, threshold=0.5))
    assert (found.mechanism, found.stage) == ("low_score", "score_filter")
    evidence = found.evidence
    assert (evidence.score, evidence.threshold, evidence.limit) == pytest.approx((0.45, 0.5, 0.5), abs=1e-5)
    assert (evidence.class_rank, evidence.preferred_class) == (1, None)
    assert (
        found.sentence == "A box that overlaps it by 1.00 scores .45 for cat, which is not above the threshold of .5."
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_rules_may_ask_for_more_than_the_detector(kind):
    model = two_stage([FAR, PLACE], [[0.8, 0.1, 0.05, 0.05], [0.45, 0.2, 0.05, 0.3]], kind=kind)
    # It is found but for the rules.
    found = miss(model)
    assert (found.mechanism, found.evidence.taken) == ("no_candidate", (1,))
    found = miss(model, rules=MissRules(score_threshold=0.5))
    assert (found.mechanism, found.stage, found.evidence.threshold) == ("low_score", "score_threshold", 0.5)
    found = miss(model, rules=MissRules(max_detections=1))
    assert (found.mechanism, found.stage, found.evidence.limit) == ("suppressed", "max_detections", 1)
    found = miss(model, rules=MissRules(iou_threshold=0.3), box=RIGHT_20)
    assert found.mechanism == "no_candidate" and found.evidence.taken == (1,)


def test_own_heads_that_choose_in_a_way_of_their_own_are_not_guessed_at(monkeypatch):
    """They reported what Detectron2 would have suppressed: the settings do not explain it."""
    model = two_stage([RIGHT_8, PLACE], [[0.8, 0.15, 0.03, 0.02], [0.6, 0.2, 0.04, 0.16]], kind="own", nms=0.7)
    predictor = model.roi_heads.box_predictor
    inference = predictor.inference

    def choose(*args):
        predictor.test_nms_thresh = 0.7
        found = inference(*args)
        predictor.test_nms_thresh = 0.5
        return found

    monkeypatch.setattr(predictor, "inference", choose, raising=False)
    found = miss(model, FAR)
    assert (found.mechanism, found.stage) == ("no_candidate", "proposals")  # this is known whatever the choice
    found = miss(model, [12, 20, 52, 60], label=2)
    assert (found.mechanism, found.stage) == ("unknown", "choice")
    # Of the boxes that fit, the one with the higher score for the car.
    assert (found.evidence.score, found.evidence.box_iou) == pytest.approx((0.04, 2 / 3), abs=1e-5)
    assert found.sentence == (
        "What became of it is not known, since the detector chooses its detections in a way of its own. The nearest is "
        "detection 1, cat (.60), which overlaps it by .67."
    )
