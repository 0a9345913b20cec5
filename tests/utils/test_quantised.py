"""Whole numbers in place of weights: small tensors, worked out by hand."""

import pytest
import torch

from odam_d2.utils.quantised import dequantise, quantise


def test_what_can_be_represented_comes_back_exactly():
    # Seven levels: -3 .. 3. A quarter each in the first channel, four each in the second.
    weight = torch.tensor([[[0.75, -0.5], [0.0, 0.25]], [[-12.0, 8.0], [4.0, -4.0]]])
    steps, scale = quantise(weight, 7)
    assert steps.dtype == torch.int8 and steps.tolist() == [[[3, -2], [0, 1]], [[-3, 2], [1, -1]]]
    assert scale.dtype == torch.float32 and scale.tolist() == [0.25, 4.0]
    assert torch.equal(dequantise(steps, scale), weight)


def test_the_scale_has_the_smallest_squared_error():
    # Three levels. 1.6 for a step makes ones of them all, with an error of 4 * .6^2 = 1.44. For these whole numbers the
    # mean is best, 5.6 / 5 = 1.12: 4 * .12^2 + .48^2 = .288. With 1 in its place it were .36.
    weight = torch.tensor([[1.0, 1.0, -1.0, 1.0, 1.6]])
    steps, scale = quantise(weight, 3)
    assert steps.tolist() == [[1, 1, -1, 1, 1]]
    assert scale.item() == pytest.approx(1.12)
    assert (dequantise(steps, scale) - weight).square().sum().item() == pytest.approx(0.288)


def test_tails_are_cut_off_where_that_is_better():
    # Five levels for 200 weights of 1 and one of 3. Steps of 1.5 leave 200 * .5^2 = 50; steps of 1 are exact for all
    # but the 3, which is cut off at 2: 1. Of scales near 1: 200 (1 - s)^2 + (3 - 2 s)^2 is least at s = 206 / 204.
    steps, scale = quantise(torch.tensor([[1.0] * 200 + [3.0]]), 5)
    assert steps.tolist() == [[1] * 200 + [2]]
    assert scale.item() == pytest.approx(206 / 204)


def test_zeros_and_equal_weights():
    steps, scale = quantise(torch.tensor([[0.0, 0.0], [0.3, 0.3], [-0.3, 0.3]]))
    assert steps.tolist() == [[0, 0], [127, 127], [-127, 127]] and scale[0] == 0
    found = dequantise(steps, scale)
    assert found[0].tolist() == [0, 0]
    assert found[1:].flatten().tolist() == pytest.approx([0.3, 0.3, -0.3, 0.3])


def test_a_huge_outlier_takes_all_levels_of_its_channel_alone():
    # A step of 1000 / 127 is nearly 8, more than twice a one. Smaller steps lose more of the thousand than they gain.
    weight = torch.tensor([[1000.0, 1.0, -1.0], [1.0, 0.5, -0.5]])
    steps, scale = quantise(weight)
    assert steps[0].tolist() == [127, 0, 0] and scale[0].item() == pytest.approx(1000 / 127)
    assert dequantise(steps, scale)[1].tolist() == pytest.approx([1.0, 0.5, -0.5], abs=0.5 / 127)


def test_very_large_and_very_small_weights():
    for size in (3e38, 1e-30):
        weight = torch.tensor([[size, -size / 2]])
        assert dequantise(*quantise(weight)).flatten().tolist() == pytest.approx(weight.flatten().tolist(), rel=0.01)
    # Below what float32 can divide by 127.
    assert dequantise(*quantise(torch.tensor([[1e-45]]))).item() == 0


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (2, 3, 0, 1)])
def test_empty(shape):
    steps, scale = quantise(torch.zeros(shape))
    assert steps.shape == shape and steps.dtype == torch.int8 and scale.shape == shape[:1]
    assert dequantise(steps, scale).shape == shape


def test_half_precision_and_gradients_are_taken():
    weight = torch.tensor([[0.5, -0.25]], dtype=torch.float16, requires_grad=True)
    found = dequantise(*quantise(weight))
    assert found.dtype == torch.float32 and not found.requires_grad
    assert found.flatten().tolist() == pytest.approx([0.5, -0.25], abs=0.5 / 127)


def test_more_levels_leave_less():
    weight = torch.randn(8, 100, generator=torch.Generator().manual_seed(0))
    errors = [(dequantise(*quantise(weight, levels)) - weight).norm().item() for levels in (3, 7, 31, 127, 255)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.01 * weight.norm()


@pytest.mark.parametrize(
    "weight, levels, message",
    [
        (torch.ones(2, 2), 2, "odd number in 3 .. 255; got 2:"),
        (torch.ones(2, 2), 1, "got 1:"),
        (torch.ones(2, 2), 257, "got 257: 255 fill a byte"),
        (torch.ones(2, 2, dtype=torch.int64), 255, r"must be floating, .* got torch.int64 \(2, 2\)"),
        (torch.tensor(1.0), 255, r"got torch.float32 \(\)"),
        (torch.tensor([[1.0, float("nan")]]), 255, "must be finite"),
        (torch.tensor([[1.0, float("inf")]]), 255, "must be finite"),
    ],
)
def test_wrong_arguments(weight, levels, message):
    with pytest.raises(ValueError, match=message):
        quantise(weight, levels)
