"""Which RoIs Odam-Train explains, and whose they are."""

from types import SimpleNamespace

import pytest
import torch
from detectron2.structures import Boxes, Instances

from odam_d2.training.views import Views, match, owners

SIZE = (100, 100)


def targets_of(boxes, classes):
    target = Instances(SIZE, gt_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)))
    target.gt_classes = torch.tensor(classes, dtype=torch.int64)
    return target


TARGETS = targets_of([[0, 0, 40, 40], [50, 50, 90, 90]], [1, 2])
PROPOSALS = Instances(SIZE, proposal_boxes=Boxes(torch.tensor([[0.0, 0, 40, 30], [45, 50, 90, 90], [0, 60, 20, 80]])))


def heads():
    sampled = match(PROPOSALS, TARGETS)[:1]
    return SimpleNamespace(samples=[sampled], all_proposals=[PROPOSALS], targets=[TARGETS])


def test_proposals_on_an_object_are_its_views():
    views = match(PROPOSALS, TARGETS)  # IoU 3 / 4 and 40 / 45; the third lies on nothing
    assert views.proposal_boxes.tensor.tolist() == PROPOSALS.proposal_boxes.tensor[:2].tolist()
    assert views.gt_classes.tolist() == [1, 2] and torch.equal(views.gt_boxes.tensor, TARGETS.gt_boxes.tensor)
    assert len(match(PROPOSALS, targets_of([], []))) == 0


def test_a_prediction_is_of_the_object_of_its_class_that_it_overlaps():
    boxes = torch.tensor([[0.0, 0, 40, 38], [50, 52, 90, 90], [50, 52, 90, 90], [0, 70, 20, 90]])
    owner, found = owners(boxes, torch.tensor([1, 2, 1, 1]), TARGETS)
    assert found.tolist() == [True, True, False, False] and owner[:2].tolist() == [0, 1]


def test_what_is_explained():
    assert len(Views().choose(heads())[0]) == 1  # what was sampled, as published
    assert len(Views(proposals="all").choose(heads())[0]) == 2
    (more,) = Views(jittered=2, given=True).choose(heads())
    assert more.gt_classes.tolist() == [1, 1, 2, 1, 2, 1, 2]
    assert torch.equal(more.proposal_boxes.tensor[-2:], TARGETS.gt_boxes.tensor)
    moved, truth = more.proposal_boxes.tensor[1:5], more.gt_boxes.tensor[1:5]
    # Each side moves by at most a sixth of the box, 40 / 6.
    assert bool(((moved - truth).abs() <= 40 / 6 + 1e-4).all()) and not torch.equal(moved, truth)
    assert bool((moved >= 0).all() and (moved <= 100).all())


@pytest.mark.parametrize(
    "options, told",
    [
        ({"proposals": "some"}, "ODAM.TRAIN.PROPOSALS` must be one of .* got 'some'"),
        ({"owner": "nobody"}, "ODAM.TRAIN.OWNER` must be one of"),
        ({"attribute": "left"}, "ODAM.TRAIN.ATTRIBUTE` must be one of"),
        ({"repool": -1}, "ODAM.TRAIN.REPOOL` must be 0 or more; got -1"),
        ({"jittered": -1}, "ODAM.TRAIN.JITTERED` must be 0 or more; got -1"),
    ],
)
def test_wrong_options(options, told):
    with pytest.raises(ValueError, match=told):
        Views(**options)
