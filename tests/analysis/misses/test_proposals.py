"""At which stage of the proposal network a box was lost, forced by hand; the numbers are worked out in the comments."""

import pytest
import torch

from odam_d2.analysis.misses import MissFinder
from odam_d2.meta_arch import OdamProposalNetwork
from tests.analysis.misses.detectors import BLACK, Fixed, objects
from tests.helpers import compact_detector

# The first level has a cell every 4 pixels; its anchors are 45.3 x 22.6, 32 x 32 and 22.6 x 45.3 pixels around its
# corner. The square 8 pixels to the right overlaps itself by 24 / 40 = .6.
SQUARE, ROW = 1, 12
PLACE = [48, 32, 80, 64]


@pytest.fixture(scope="module")
def built():
    model = compact_detector("faster_rcnn")
    levels = model.backbone(model.preprocess_image([BLACK]).tensor)
    return model, [tuple(levels[name].shape[-2:]) for name in model.proposal_generator.in_features]


def says(built, said, topk=100, most=10, nms=0.5, min_size=0.0):
    """The detector, whose RPN says -20 but at (column, logit) in the row of `PLACE`, and does not move a box."""
    model, shapes = built
    logits = [torch.full((1, 3, *shape), -20.0) - 0.001 * torch.rand(1, 3, *shape) for shape in shapes]
    for column, logit in said:
        logits[0][0, SQUARE, ROW, column] = logit
    rpn = model.proposal_generator
    rpn.rpn_head = Fixed((logits, [torch.zeros(1, 12, *shape) for shape in shapes]))
    rpn.pre_nms_topk, rpn.post_nms_topk = {False: topk, True: topk}, {False: most, True: most}
    rpn.nms_thresh, rpn.min_box_size = nms, min_size
    return model


def miss(model, box=PLACE):
    ((found,),) = MissFinder(model, compare_maps=False)([BLACK], [objects([box], [0])], [[0]])
    return found


@pytest.mark.parametrize(
    "options, stage, limit, reason",
    [
        # Of each level's best 1, the one at column 2 is far from the object.
        ({"topk": 1}, "rpn_pre_nms_topk", 1, "it was not among the 1 best of its level"),
        ({"most": 1}, "rpn_post_nms_topk", 1, "it was not among the 1 best, which become proposals"),
        # All anchors of that level are at most 45.3 pixels long.
        ({"min_size": 40.0}, "rpn_min_size", 40, "it was not larger than 40 pixels"),
    ],
)
def test_a_limit(built, options, stage, limit, reason):
    found = miss(says(built, [(2, 3.0), (16, 2.0)], **options))
    assert (found.mechanism, found.stage, found.evidence.limit) == ("no_candidate", stage, limit)
    evidence = found.evidence
    # sigmoid(2) = .8808; one anchor has a higher objectness.
    assert (evidence.proposed_iou, evidence.proposed_score) == pytest.approx((1.0, 0.8808), abs=1e-4)
    assert evidence.proposed_rank == 2 and evidence.start_iou < 0.5
    assert found.sentence.endswith(f"A box of the proposal network overlaps it by 1.00 (score .88), but {reason}.")


def test_suppression(built):
    """Objectness 3 at 8 pixels to the right; the object is 8 to the left of the worse one: 16 / 48 with the better."""
    found = miss(says(built, [(18, 3.0), (16, 2.0)], most=2), [40, 32, 72, 64])
    assert (found.mechanism, found.stage) == ("no_candidate", "rpn_nms")
    evidence = found.evidence
    # sigmoid(3) = .9526.
    numbers = (evidence.start_iou, evidence.proposed_iou, evidence.neighbour_iou, evidence.neighbour_score)
    assert numbers == pytest.approx((1 / 3, 0.6, 0.6, 0.9526), abs=1e-4)
    assert evidence.neighbour_box == pytest.approx([56, 32, 88, 64], abs=1e-3)
    assert (evidence.neighbour, evidence.neighbour_class, evidence.map_similarity) == (None, None, None)
    assert found.sentence == (
        "The best proposal overlaps it by .33, and in the end no box fits it. A box of the proposal network overlaps "
        "it by .60 (score .88), but a better one that overlaps it by .60 suppressed it."
    )


def test_no_box_of_the_network_is_near(built):
    found = miss(says(built, [(16, 2.0)], most=1), [60, 44, 68, 52])
    assert (found.mechanism, found.stage) == ("no_candidate", "proposals")
    # 8 x 8 in 32 x 32 pixels.
    assert (found.evidence.start_iou, found.evidence.proposed_iou) == pytest.approx((1 / 16, 1 / 16))
    assert found.sentence == "The best proposal overlaps it by .06, and in the end no box fits it."


def test_a_network_that_proposes_in_a_way_of_its_own(built):
    """Only what comes of it is known."""
    model = says(built, [(2, 3.0), (16, 2.0)], most=1)
    stock = type(model.proposal_generator)
    model.proposal_generator.__class__ = type(
        "Own", (stock,), {"propose": lambda self, *args: stock.propose(self, *args)}
    )
    try:
        found = miss(model)
    finally:
        model.proposal_generator.__class__ = stock
    assert (found.mechanism, found.stage, found.evidence.proposed_iou) == ("no_candidate", "proposals", None)


def test_a_proposal_network_alone(built):
    """Its proposals are detections of one class, whatever the objects'."""
    network = OdamProposalNetwork.of(says(built, [(2, 3.0), (16, 2.0)], most=1))
    finder = MissFinder(network, compare_maps=False)
    truth = objects([PLACE, [60, 44, 68, 52], [0, 32, 24, 64]], [7, 2, 1])
    first, second, third = finder([BLACK], [truth], [[0, 1, 2]])[0]
    assert (first.mechanism, first.stage, first.evidence.limit, first.label) == (
        "suppressed",
        "rpn_post_nms_topk",
        1,
        7,
    )
    assert first.sentence == "A box that overlaps it by 1.00 (score .88) was not among the 1 best, which are proposed."
    assert (second.mechanism, second.stage) == ("no_candidate", "rpn_anchors")
    # 24 x 32 pixels, which are what is in the image of the proposal: it is found.
    assert third.evidence.taken == (0,)


def test_a_proposal_network_regressed_the_box_away(built):
    model = says(built, [(16, 2.0)])
    for one in model.proposal_generator.rpn_head.says[0][1]:
        one += torch.tensor([0.0, 0.0, -3.0, -3.0]).repeat(3).view(1, 12, 1, 1)  # a twentieth of the size
    found = MissFinder(OdamProposalNetwork.of(model), compare_maps=False)([BLACK], [objects([PLACE], [0])], [[0]])[0][0]
    assert (found.mechanism, found.stage) == ("regressed_away", "rpn_boxes")
