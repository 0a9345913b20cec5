"""RoIAlign as matrices, against torchvision's operator and a plain loop."""

import math

import pytest
import torch
from torchvision.ops import roi_align

from odam_d2.ops.roi_align import roi_align_weights

SIZE = (17, 23)  # H, W
STRIDE = 8.0
BOXES = torch.tensor(
    [
        [10.0, 20.0, 90.0, 100.0],  # inside
        [0.0, 0.0, 184.0, 136.0],  # the whole image
        [-30.0, -20.0, 40.0, 60.0],  # over the top left corner
        [150.0, 100.0, 260.0, 190.0],  # over the bottom right corner
        [33.0, 41.0, 34.5, 41.5],  # smaller than a cell
        [60.0, 5.0, 64.0, 130.0],  # thin and tall
        [183.0, 135.0, 184.0, 136.0],  # the last corner
        [400.0, 400.0, 480.0, 480.0],  # beyond the map
    ]
)


def dense_weights(axis: int, bins: int, sampling_ratio: int, aligned: bool) -> torch.Tensor:
    """(R, P, size): the windows put back on the whole axis."""
    low, high = BOXES[:, 1 - axis], BOXES[:, 3 - axis]
    weights, start, length = roi_align_weights(low, high, SIZE[axis], bins, 1 / STRIDE, sampling_ratio, aligned)
    dense = torch.zeros(len(BOXES), bins, SIZE[axis])
    for index in range(len(BOXES)):
        stop = int(start[index] + length[index])
        dense[index, :, int(start[index]) : stop] = weights[index, :, : int(length[index])]
        assert not weights[index, :, int(length[index]) :].any()
    return dense


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 3])
@pytest.mark.parametrize("bins", [7, 14, 1])
def test_pooling_with_the_matrices_is_roi_align(aligned, sampling_ratio, bins):
    features = torch.randn(1, 5, *SIZE)
    rois = torch.cat([torch.zeros(len(BOXES), 1), BOXES], 1)
    expected = roi_align(features, rois, bins, 1 / STRIDE, sampling_ratio, aligned)

    rows, columns = (dense_weights(axis, bins, sampling_ratio, aligned) for axis in (0, 1))
    found = torch.einsum("rpi,cij,rqj->rcpq", rows, features[0], columns)

    assert torch.allclose(found, expected, atol=1e-5)
    assert expected[-1].abs().max() == 0  # the box beyond the map


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_gradient_through_the_matrices_is_autograds(aligned, sampling_ratio):
    features = torch.randn(1, 3, *SIZE, requires_grad=True)
    pooled_gradient = torch.randn(len(BOXES), 3, 7, 7)
    rows, columns = (dense_weights(axis, 7, sampling_ratio, aligned) for axis in (0, 1))
    for index, box in enumerate(BOXES):
        roi = torch.cat([torch.zeros(1), box])[None]
        pooled = roi_align(features, roi, 7, 1 / STRIDE, sampling_ratio, aligned)
        (expected,) = torch.autograd.grad(pooled, features, pooled_gradient[index][None])
        found = torch.einsum("pi,cpq,qj->cij", rows[index], pooled_gradient[index], columns[index])
        assert torch.allclose(found, expected[0], atol=1e-5)


def plain_weights(low: float, high: float, size: int, bins: int, sampling_ratio: int) -> list[list[float]]:
    """The definition for ROIAlignV2, written as loops."""
    begin, extent = low / STRIDE - 0.5, (high - low) / STRIDE
    count = sampling_ratio or math.ceil(extent / bins)
    weights = [[0.0] * size for _ in range(bins)]
    for p in range(bins):
        for s in range(count):
            at = begin + p * extent / bins + (s + 0.5) * extent / bins / count
            if at < -1 or at > size:
                continue
            at = min(max(at, 0.0), size - 1)
            left = min(int(at), size - 1)
            right = min(left + 1, size - 1)
            weights[p][left] += (1 - (at - left)) / count
            weights[p][right] += (at - left) / count
    return weights


@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_weights_are_those_of_a_plain_loop(sampling_ratio):
    found = dense_weights(1, 7, sampling_ratio, aligned=True)
    for index, box in enumerate(BOXES.tolist()):
        expected = torch.tensor(plain_weights(box[0], box[2], SIZE[1], 7, sampling_ratio))
        assert torch.allclose(found[index], expected, atol=1e-6)


def test_weights_of_one_box_by_hand():
    # Box 8 .. 24 px at stride 8, aligned: cells .5 .. 2.5, one bin, two samples at 1.0 and 2.0: half on each cell.
    weights, start, length = roi_align_weights(
        torch.tensor([8.0]), torch.tensor([24.0]), 10, bins=1, scale=1 / 8, sampling_ratio=2, aligned=True
    )
    assert start.tolist() == [1]
    # The sample at 2.0 reads cell 3 with weight 0, so cell 3 belongs to the window.
    assert length.tolist() == [3]
    assert weights.tolist() == [[[0.5, 0.5, 0.0]]]


def test_no_boxes_give_no_weights():
    empty = torch.zeros(0)
    weights, start, length = roi_align_weights(empty, empty, 10, 7, 0.125, 0, True)
    assert weights.shape == (0, 7, 0) and start.shape == (0,) and length.shape == (0,)
