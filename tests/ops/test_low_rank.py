"""Few combinations of vectors, against vectors written out and torch's singular values."""

import pytest
import torch

from odam_d2.ops.low_rank import few_combinations


def rows_of(coefficients, combinations, vectors):
    return coefficients @ combinations @ vectors


def test_by_hand():
    # Three vectors at right angles, of lengths 2, 1 and 1; two rows, (6, 0, .1) and (4, 0, -.1) of them, that is
    # (12, 0, .1) and (8, 0, -.1). Nearly all lies along the first vector.
    vectors = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    shares = torch.tensor([[6.0, 0.0, 0.1], [4.0, 0.0, -0.1]])
    # With every row measured by 10, a hundredth of it is left out if the third vector goes: (.01^2 + .01^2) / 2.
    coefficients, combinations = few_combinations(shares, vectors @ vectors.T, torch.full((2,), 10.0), 0.011)
    assert coefficients.shape == (2, 1) and combinations.shape == (1, 3)
    found = rows_of(coefficients, combinations, vectors)
    assert torch.allclose(found, torch.tensor([[12.0, 0.0, 0.0], [8.0, 0.0, 0.0]]), atol=0.11)
    assert float((found - shares @ vectors).square().mean(0).sum().sqrt()) < 0.11
    # A little less tolerance, and it has to stay.
    coefficients, combinations = few_combinations(shares, vectors @ vectors.T, torch.full((2,), 10.0), 0.009)
    assert coefficients.shape == (2, 2)
    assert torch.allclose(rows_of(coefficients, combinations, vectors), shares @ vectors, atol=1e-5)


@pytest.mark.parametrize("tolerance", [0.0, 0.02, 0.1, 0.3, 2.0])
def test_as_few_as_singular_values_allow(tolerance):
    torch.manual_seed(0)
    vectors = torch.randn(9, 40) * torch.logspace(0, -2, 9)[:, None]
    shares, lengths = torch.randn(30, 9), torch.rand(30) * 3 + 0.5
    rows = shares @ vectors
    sizes = torch.linalg.svdvals((rows / lengths[:, None]).double())
    wanted = next(r for r in range(10) if float(sizes[r:].square().sum()) <= tolerance**2 * 30 or r == 9)
    coefficients, combinations = few_combinations(shares, vectors @ vectors.T, lengths, tolerance)
    assert coefficients.shape == (30, wanted) and combinations.shape == (wanted, 9)
    left_out = (rows_of(coefficients, combinations, vectors) - rows).norm(dim=1) / lengths
    assert abs(float(left_out.square().mean().sqrt()) - float((sizes[wanted:].square().sum() / 30).sqrt())) < 1e-5


def test_vectors_that_depend_on_each_other_or_are_nothing():
    torch.manual_seed(0)
    basis, shares = torch.randn(3, 20), torch.randn(6, 5)
    vectors = torch.stack([basis[0], basis[1], basis[0] - 2 * basis[1], torch.zeros(20), basis[2] * 1e-4])
    coefficients, combinations = few_combinations(shares, vectors @ vectors.T, torch.ones(6), 0.0)
    assert coefficients.shape[1] <= 5 and combinations.isfinite().all()
    assert torch.allclose(rows_of(coefficients, combinations, vectors), shares @ vectors, atol=1e-5)


def test_rows_without_length_are_not_looked_at():
    vectors = torch.eye(2)
    shares, lengths = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([1.0, 0.0])
    coefficients, combinations = few_combinations(shares, vectors, lengths, 1e-3)
    assert torch.allclose(rows_of(coefficients, combinations, vectors), shares, atol=1e-6)
    assert coefficients.shape == (2, 1)
    coefficients, _ = few_combinations(shares, vectors, torch.zeros(2), 1e-3)
    assert coefficients.shape == (2, 0)


def test_no_rows_and_no_vectors():
    coefficients, combinations = few_combinations(torch.zeros(0, 3), torch.eye(3), torch.zeros(0), 0.1)
    assert coefficients.shape == (0, 0) and combinations.shape == (0, 3)
    coefficients, combinations = few_combinations(torch.zeros(4, 0), torch.zeros(0, 0), torch.ones(4), 0.1)
    assert coefficients.shape == (4, 0) and combinations.shape == (0, 0)
