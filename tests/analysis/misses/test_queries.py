"""Each mechanism of a query detector, forced by hand; all numbers are worked out in the comments."""

import pytest

from odam_d2.analysis.misses import MissFinder
from tests.analysis.misses.detectors import BLACK, objects, query
from tests.wants import needs_package

pytestmark = needs_package("transformers")

# 40 x 40 pixels; 8 to the right it overlaps itself by 32 / 48 = .667, 20 to the right by a third.
PLACE, RIGHT_8, RIGHT_20, FAR = [20, 20, 60, 60], [28, 20, 68, 60], [40, 20, 80, 60], [80, 40, 120, 80]
KINDS = ("RTDetr", "ConditionalDetr", "Detr", "own", "own_softmax")


def miss(model, box=PLACE, label=0):
    ((found,),) = MissFinder(model, class_names=("cat", "dog", "car"))([BLACK], [objects([box], [label])], [[0]])
    return found


def build(kind, boxes, scores, **options):
    """Queries whose boxes stay where they are; of a softmax what is missing is background's."""
    if kind in ("Detr", "own_softmax"):
        scores = [[*one, 1 - sum(one)] for one in scores]
    return query(kind, scores, [boxes] * 3 if kind == "RTDetr" else [boxes], **options)


@pytest.mark.parametrize("kind", KINDS)
def test_no_query_is_near(kind):
    found = miss(build(kind, [FAR, RIGHT_20], [[0.6, 0.1, 0.1], [0.3, 0.1, 0.1]]))
    assert (found.mechanism, found.stage) == ("no_candidate", "encoder" if kind == "RTDetr" else "queries")
    evidence = found.evidence
    assert (evidence.start_iou, evidence.start_score) == pytest.approx((1 / 3, 0.3), abs=1e-5)
    assert evidence.start_rank == 2
    assert found.sentence == "No query came near it: the best box overlaps it by .33."


def test_a_box_of_the_encoder_became_no_query():
    """Its best class scores .2, and there are two queries with .3 and .4."""
    tokens = ([FAR, RIGHT_20, PLACE], [[0.3, 0.1, 0.1], [0.1, 0.4, 0.1], [0.1, 0.1, 0.2]])
    found = miss(query("RTDetr", [[0.6, 0.1, 0.1]] * 2, [[FAR, RIGHT_20]] * 3, tokens=tokens))
    assert (found.mechanism, found.stage) == ("no_candidate", "query_selection")
    evidence = found.evidence
    assert (evidence.limit, evidence.proposed_rank) == (2, 3)
    assert (evidence.proposed_iou, evidence.proposed_score) == pytest.approx((1.0, 0.2), abs=1e-5)
    assert found.sentence == (
        "No query came near it: the best box overlaps it by .33. A box of the encoder overlaps it by 1.00 (score .20), "
        "but it was not among the 2 best, which become queries."
    )


def test_a_layer_of_the_decoder_moved_the_box_away():
    found = miss(query("RTDetr", [[0.6, 0.1, 0.1]], [[PLACE], [RIGHT_8], [RIGHT_20], [FAR]]))
    assert (found.mechanism, found.stage) == ("regressed_away", "decoder_layer_2")
    assert found.evidence.step_ious == pytest.approx(
        {"encoder": 1, "decoder_layer_1": 2 / 3, "decoder_layer_2": 1 / 3, "decoder_layer_3": 0}, abs=1e-5
    )
    assert found.sentence == (
        "A box overlaps it by .67, but decoder layer 2 left no box there: the best then overlaps it by .33."
    )


@pytest.mark.parametrize("kind", KINDS)
def test_it_was_given_another_class(kind):
    """What is not detected scores at most .04, which is all that is known of an ``inference`` without settings."""
    found = miss(build(kind, [RIGHT_8, FAR], [[0.03, 0.7, 0.02], [0.02, 0.6, 0.04]], most=2))
    assert (found.mechanism, found.stage) == ("other_class", "score_filter")
    evidence = found.evidence
    numbers = (evidence.preferred_score, evidence.score, evidence.box_iou)
    assert numbers == pytest.approx((0.7, 0.03, 2 / 3), abs=1e-5)
    assert (evidence.preferred_class, evidence.class_rank) == (1, 2)


@pytest.mark.parametrize("kind", ("Detr", "own_softmax"))
def test_a_query_says_one_class_alone(kind):
    """The dog's score would be enough, and .4 is more. A second query says the dog elsewhere, less than it would."""
    found = miss(build(kind, [PLACE, FAR], [[0.4, 0.35, 0.05], [0.01, 0.5, 0.02]]), label=1)
    assert (found.mechanism, found.stage) == ("other_class", "score_filter")
    assert found.evidence.margin == pytest.approx(0.05, abs=1e-5)


@pytest.mark.parametrize("kind", ("Detr", "own_softmax"))
def test_a_query_whose_likeliest_class_is_another_objects(kind):
    """The cat lies there too, so that its score says nothing of the dog; but then the dog is not said at all."""
    model = build(kind, [PLACE, FAR], [[0.4, 0.35, 0.05], [0.01, 0.3, 0.02]])
    truth = objects([RIGHT_8, PLACE], [1, 0])
    ((found,),) = MissFinder(model)([BLACK], [truth], [[0]])
    assert (found.mechanism, found.stage) == ("other_class", "class_choice")
    assert (found.evidence.preferred_class, found.evidence.class_rank) == (0, 2)
    assert found.evidence.margin == pytest.approx(0.05, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_it_was_called_background(kind):
    """The last kind reports whatever is a query's likeliest class, so that this can't be."""
    found = miss(build(kind, [PLACE, FAR], [[0.03, 0.02, 0.01], [0.9, 0.02, 0.01]], most=1))
    assert (found.mechanism, found.stage) == ("background", "score_filter")
    nothing = 0.94 if kind == "Detr" else None
    assert found.evidence.background_score == (nothing and pytest.approx(nothing, abs=1e-5))
    assert found.evidence.score == pytest.approx(0.03, abs=1e-5)


@pytest.mark.parametrize("kind", ("RTDetr", "ConditionalDetr", "Detr"))
def test_it_was_left_when_the_best_were_taken(kind):
    found = miss(build(kind, [PLACE, FAR], [[0.5, 0.02, 0.01], [0.9, 0.02, 0.01]], most=1))
    assert (found.mechanism, found.stage, found.evidence.limit) == ("suppressed", "max_detections", 1)
    assert found.evidence.score == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_its_score_was_below_the_threshold(kind):
    """Of somebody's own ``inference`` the best score that was not reported: in a softmax there is none below .5."""
    scores = [[0.45, 0.2, 0.05], [0.9, 0.02, 0.01]]
    model = (
        build(kind, [PLACE, FAR], scores, most=1) if kind == "own" else build(kind, [PLACE, FAR], scores, threshold=0.5)
    )
    found = miss(model)
    if kind == "own_softmax":  # each of its queries is reported
        assert found.mechanism == "no_candidate" and found.evidence.taken == (0,)
        return
    assert (found.mechanism, found.stage) == ("low_score", "score_filter")
    assert (found.evidence.score, found.evidence.threshold) == pytest.approx((0.45, 0.45 if kind == "own" else 0.5))
