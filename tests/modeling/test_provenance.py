"""Index bookkeeping."""

import numpy as np
import pytest
import torch
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference_single_image
from detectron2.structures import Boxes, Instances, RotatedBoxes

from odam_d2.modeling.provenance import given_boxes, given_results, image_index_of, rows_of_kept
from tests.helpers import given


def test_rows_count_the_non_finite_ones_that_inference_dropped():
    # Five proposals, far apart; rows 0 and 3 are not finite. Scores of class 0: row 4 best, then 1, then 2.
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10], [80, 0, 90, 10]])
    scores = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.5, 0.5], [0.95, 0.05], [0.8, 0.2]])
    boxes[0, 1] = float("nan")
    scores[3, 1] = float("inf")
    found, kept = fast_rcnn_inference_single_image(boxes.clone(), scores.clone(), (100, 100), 0.05, 0.5, 100)
    assert kept.tolist() == [2, 0, 1]  # what Detectron2 says: positions among rows 1, 2, 4
    rows = rows_of_kept(boxes, scores, kept)
    assert rows.tolist() == [4, 1, 2]
    assert torch.equal(boxes[rows], found.pred_boxes.tensor)


def test_image_index():
    assert image_index_of([2, 0, 1], torch.device("cpu")).tolist() == [0, 0, 2]
    assert image_index_of([], torch.device("cpu")).tolist() == []


def use(instances, image_sizes=((50, 100),), output_sizes=((100, 200),), num_classes=3):
    return given_boxes(instances, list(image_sizes), list(output_sizes), num_classes, torch.device("cpu"))


def test_given_boxes_come_to_the_model_input_frame():
    boxes, classes = use([given((100, 200), [[20, 10, 60, 30]], [2])])
    assert boxes[0].tolist() == [[10, 5, 30, 15]] and classes[0].tolist() == [2]
    truth = Instances((100, 200), gt_boxes=Boxes(torch.tensor([[-20.0, 10, 60, 130]])), gt_classes=torch.tensor([0]))
    boxes, _ = use([truth])
    assert boxes[0].tolist() == [[-10, 5, 30, 65]]  # partly outside is fine
    boxes, classes = use([given((100, 200), [], [])])
    assert boxes[0].shape == (0, 4) and classes[0].shape == (0,)


@pytest.mark.parametrize(
    "boxes, classes, message",
    [
        ([[20, 10, 20, 30]], [0], "x1 < x2"),
        ([[5, 5, 9, 9], [60, 10, 20, 30]], [0, 0], "box 1 .* x1 < x2"),
        ([[210, 10, 260, 30]], [0], "overlap the image of 200 x 100"),
        ([[-50, -50, -1, -1]], [0], "overlap"),
        ([[0, 0, float("nan"), 9]], [0], "finite"),
        ([[0, 0, 9, 9]], [3], r"0 \.\. 2; got 3"),
        ([[0, 0, 9, 9]], [-1], "got -1"),
    ],
)
def test_bad_given_boxes_are_named(boxes, classes, message):
    with pytest.raises(ValueError, match=message):
        use([given((100, 200), boxes, classes)])


@pytest.mark.parametrize("prefix", ["pred", "gt"])
@pytest.mark.parametrize("rows", [[[20.0, 10, 60, 30], [4, 2, 100, 90]], []])
@pytest.mark.parametrize(
    "form",
    [
        lambda rows: torch.tensor(rows).view(-1, 4), np.array, lambda rows: np.array(rows, np.int64), list, tuple,
        lambda rows: [torch.tensor(row) for row in rows], lambda rows: [np.array(row) for row in rows],
        lambda rows: torch.tensor(rows, dtype=torch.float64).view(-1, 4),
        lambda rows: Boxes(torch.tensor(rows).view(-1, 4)),
    ],
)  # fmt: skip
def test_boxes_may_be_tensors_arrays_and_lists(form, rows, prefix):
    labels = [2, 1][: len(rows)]
    asked = Instances((100, 200), **{f"{prefix}_boxes": form(rows), f"{prefix}_classes": labels})
    boxes, classes = use([asked])
    assert boxes[0].dtype == torch.float32 and boxes[0].shape == (len(rows), 4)
    assert boxes[0].mul(2).tolist() == rows and classes[0].tolist() == labels
    (result,) = given_results([asked], classes, [(100, 200)])
    assert result.pred_boxes.tensor.tolist() == rows and result.pred_classes.tolist() == labels


def test_boxes_with_classes_come_before_boxes_without():
    truth, other = torch.tensor([[20.0, 10, 60, 30]]), torch.tensor([[1.0, 2, 3, 4]])
    asked = Instances((100, 200), pred_boxes=Boxes(other), gt_boxes=Boxes(truth), gt_classes=torch.tensor([1]))
    _, classes = use([asked])
    assert torch.equal(given_results([asked], classes, [(100, 200)])[0].pred_boxes.tensor, truth)


@pytest.mark.parametrize(
    "boxes, got",
    [
        (torch.zeros(1, 5), r"\(1, 5\)"), (RotatedBoxes(torch.zeros(1, 5)), r"\(1, 5\)"), ([20.0], r"\(1,\)"),
        ([[1, 2, 3]], r"\(1, 3\)"), (["a"], "list"), ([{"x": 1}], "list"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_boxes_is_named(boxes, got):
    asked = Instances((100, 200), gt_boxes=boxes, gt_classes=torch.zeros(1, dtype=torch.int64))
    message = rf"`gt_boxes` of `instances\[0\]` must be \(R, 4\) numbers; got {got}: give x1"
    with pytest.raises(ValueError, match=message):
        use([asked])


def test_fractions_are_told_to_be_multiplied():
    got = r"200 x 100; got only fractions such as \[0.1, 0.2, 0.5, 1.0\]"
    with pytest.raises(
        ValueError, match=rf"boxes of `instances\[0\]` must be in pixels .* {got}: multiply x1 and x2 by"
    ):
        use([given((100, 200), [[0.1, 0.2, 0.5, 1.0], [0, 0, 1, 1]], [0, 0])])
    # One of them is in pixels, so all are; and images of a pixel or two exist.
    use([given((100, 200), [[0.1, 0.2, 0.5, 1.0], [0, 0, 1, 1.5]], [0, 0])])
    use([given((2, 2), [[0, 0, 1, 1]], [0])], ((2, 2),), ((2, 2),))


def test_instances_that_do_not_fit_the_images():
    with pytest.raises(ValueError, match="got 0"):
        use([])
    with pytest.raises(ValueError, match="image_size"):
        use([given((50, 100), [[0, 0, 9, 9]], [0])])
    with pytest.raises(ValueError, match="pred_boxes and pred_classes"):
        use([Instances((100, 200), pred_boxes=Boxes(torch.zeros(0, 4)))])
