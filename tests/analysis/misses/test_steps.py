"""Where candidates are: overlaps of boxes, of boxes for each class, and of points, by numbers worked out by hand."""

import pytest
import torch

from odam_d2.analysis.misses.steps import BoxStep, PointStep

OBJECT = torch.tensor([10.0, 10.0, 30.0, 30.0])


def test_boxes_are_clipped_and_what_is_not_finite_overlaps_nothing():
    boxes = [
        [-10.0, 10, 20, 30],
        [10, 10, 30, 30],
        [float("nan"), 10, 30, 30],
        [10, 10, float("inf"), 30],
        [50, 0, 90, 9],
    ]
    step = BoxStep.clipped("name", torch.tensor(boxes), (40, 60))
    assert step.boxes.tolist() == [[0, 10, 20, 30], [10, 10, 30, 30], [0] * 4, [0] * 4, [50, 0, 60, 9]]
    # 10 x 20 of 20 x 20 twice: 200 / 600.
    assert step.overlaps(OBJECT, 7).tolist() == pytest.approx([1 / 3, 1, 0, 0, 0])


def test_each_class_may_have_its_own_box():
    boxes = torch.tensor([[[10.0, 10, 30, 30], [10, 10, 20, 30]], [[0, 0, 5, 5], [20, 10, 30, 30]]])
    step = BoxStep("name", boxes)
    assert step.overlaps(OBJECT, 0).tolist() == [1, 0] and step.overlaps(OBJECT, 1).tolist() == [0.5, 0.5]
    assert step.box_of(1, 1).tolist() == [20, 10, 30, 30]
    both = step.overlaps_of_all(torch.tensor([1]), torch.stack([OBJECT, boxes[1, 1]]))
    assert both.tolist() == [[[0, 0], [0.5, 1]]]
    one = BoxStep("name", boxes[:, 0]).overlaps_of_all(torch.tensor([0, 1]), OBJECT[None])
    assert one.tolist() == [[[1]], [[0]]]


def test_points_reach_as_far_as_the_smallest_box_around_both():
    """Inside; 10 to the left: 400 of 30 x 20; 20 to the right and 20 below: 400 of 40 x 40."""
    step = PointStep("name", torch.tensor([[20.0, 20.0], [0, 15], [50, 50]]))
    assert step.overlaps(OBJECT, 0).tolist() == pytest.approx([1, 2 / 3, 1 / 4])


def test_nothing():
    step = BoxStep.clipped("name", torch.zeros(0, 4), (10, 10))
    assert len(step.overlaps(OBJECT, 0)) == 0 and step.overlaps_of_all(torch.tensor([]).long(), OBJECT[None]).shape == (
        0,
        1,
        1,
    )
