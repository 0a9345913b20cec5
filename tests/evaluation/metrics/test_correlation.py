"""Correlations worked out by hand, and against ranks that are counted one by one."""

import pytest
import torch

from odam_d2.evaluation.metrics.correlation import cosine, maps_on_cells, rank_correlation, same_up_to_scale
from tests.evaluation.scenes import delta, heatmaps


def tensor(*values):
    return torch.tensor(values)


def test_rank_correlation_by_hand():
    assert rank_correlation(tensor(1.0, 2, 3), tensor(1.0, 20, 300)).item() == pytest.approx(1.0)
    assert rank_correlation(tensor(1.0, 2, 3), tensor(3.0, 2, 1)).item() == pytest.approx(-1.0)
    # Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: centred -1.5, 0, 0, 1.5 and -1.5, -.5, .5, 1.5: 4.5 / sqrt(4.5 * 5).
    assert rank_correlation(tensor(1.0, 5, 5, 9), tensor(1.0, 2, 3, 4)).item() == pytest.approx(0.9**0.5)
    # Two zeros in common don't count: what is left is 1, 2 and 2, 1.
    assert rank_correlation(tensor(0.0, 1, 2, 0), tensor(0.0, 2, 1, 0)).item() == pytest.approx(-1.0)
    for nothing in (tensor(0.0, 0), tensor(3.0, 3)):
        assert rank_correlation(nothing, nothing).item() == 0.0


def test_cosine_by_hand():
    assert cosine(tensor(1.0, 0), tensor(1.0, 1)).item() == pytest.approx(0.5**0.5)
    assert cosine(tensor(0.0, 0), tensor(1.0, 1)).item() == 0.0


@pytest.mark.parametrize(
    "one, other, expected",
    [
        ((0.0, 0, 0), (0.0, 0, 0), True),
        ((2.0, 2, 2), (0.3, 0.3, 0.3), True),
        ((0.0, 1, 3), (0.0, 0.1, 0.3), True),
        ((0.0, 1, 3), (0.0, 1.001, 3), False),
        ((0.0, 1, 3), (0.0, -1, -3), False),
        ((0.0, 0, 0), (1.0, 1, 1), False),
        ((), (), True),
    ],
)
def test_maps_that_differ_by_their_scale_alone_are_the_same(one, other, expected):
    for pair in ((one, other), (other, one)):
        assert same_up_to_scale(*(torch.tensor(values) for values in pair)) is expected


def counted_ranks(values):
    """How many are smaller, and half of those that are equal: the mean place of equal values, up to a constant."""
    return (values < values[:, None]).double().sum(1) + (values == values[:, None]).double().sum(1) / 2


def test_rank_correlation_is_the_correlation_of_ranks():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        one, other = (torch.randint(1, 9, (40,), generator=generator).float() for _ in range(2))
        expected = torch.corrcoef(torch.stack([counted_ranks(one), counted_ranks(other)]))[0, 1]
        assert rank_correlation(one, other).item() == pytest.approx(float(expected), abs=1e-6)


def test_a_map_without_an_order_correlates_with_nothing():
    # Constant on the cells that count, and no such cells at all: scipy says NaN and warns of both.
    found = rank_correlation(tensor(3.0, 3, 3), tensor(1.0, 2, 3))
    assert found.item() == 0.0 and found.dtype == torch.float32
    assert rank_correlation(torch.zeros(0), torch.zeros(0)).item() == 0.0


def test_maps_are_compared_on_cells_of_the_model_input():
    # An image of 4 x 4 pixels is one cell of 8.
    (cells,) = maps_on_cells(heatmaps(delta(0, 0)), "score")
    assert cells.shape == (1,)
