"""Few vectors in place of many: the best ones for a set of their linear combinations."""

import torch
from torch import Tensor

# Eigenvalues of a Gram matrix with ones on its diagonal: what is smaller is rounding.
_ROUNDING = 1e-9


def few_combinations(coefficients: Tensor, gram: Tensor, lengths: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Few combinations of M vectors that stand for N others within a tolerance.

    Row n of the coefficients is a vector, the sum of `coefficients[n, m]` times vector m. What is kept are the leading
    singular vectors of these N, each first divided by its length (Eckart and Young).

    Args:
        coefficients: (N, M).
        gram: (M, M) inner products of the vectors.
        lengths: (N,) what an error of each row is measured by, >= 0; rows of length 0 are not looked at.
        tolerance: root of the mean square, over rows, of what may be left out, divided by the row's length; >= 0.

    Returns:
        (N, R) new coefficients, and (R, M) the combinations that they are of; R is as small as the tolerance allows.
    """
    scale = gram.diagonal().double().sqrt()
    inverse = torch.where(scale > 0, 1.0 / scale, 0.0)
    values, vectors = torch.linalg.eigh(gram.double() * inverse[:, None] * inverse)
    kept = values > _ROUNDING
    roots, vectors = values[kept].sqrt(), vectors[:, kept]
    seen = lengths > 0
    lengths = torch.where(seen, lengths, 1.0).double()[:, None]
    rows = (coefficients.double() * scale) @ vectors * roots / lengths  # in an orthonormal basis
    # Singular vectors of the rows, which are many, from their few inner products.
    sizes, directions = torch.linalg.eigh((rows * seen[:, None]).T @ (rows * seen[:, None]))
    left_out = sizes.clamp(min=0.0).cumsum(0)  # by leaving out 1, 2, ... of them, the smallest first
    directions = directions[:, left_out > tolerance**2 * seen.sum()]
    combinations = (directions.T / roots) @ vectors.T * inverse
    return (rows * lengths @ directions).to(coefficients), combinations.to(coefficients)
