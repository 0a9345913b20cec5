"""Means and factors around a map's own cell, against loops over cells."""

import numpy as np
import torch

from odam_d2.ops.around import mean_around, scale_around

# Windows of three maps on one grid, the last a single cell; own cells inside, at a corner, and outside of the window.
WINDOWS = torch.tensor([[1, 2, 3, 2], [0, 0, 2, 4], [5, 5, 1, 1]])
CENTRES = torch.tensor([[2, 2], [0, 3], [4, 6]])
VALUES = torch.rand(2, 6 + 8 + 1, generator=torch.Generator().manual_seed(0))


def cells():
    """(map, row and column from its own cell, number of the value) of every cell."""
    number = 0
    for r, (top, left, height, width) in enumerate(WINDOWS.tolist()):
        for y in range(top, top + height):
            for x in range(left, left + width):
                yield r, y - int(CENTRES[r, 0]), x - int(CENTRES[r, 1]), number
                number += 1


def test_a_mean_is_over_the_maps_whose_windows_reach_a_place():
    held: dict[tuple[int, int], list[np.ndarray]] = {}
    for _, y, x, number in cells():
        held.setdefault((y, x), []).append(VALUES[:, number].numpy())
    found = mean_around(VALUES, WINDOWS, CENTRES)
    # The farthest rows: 2 - 1, 1 - 0, 5 - 4; columns: 3 - 2, 0 - 3, 5 - 6.
    assert found.shape == (2, 3, 7)
    for y in range(-1, 2):
        for x in range(-3, 4):
            expected = np.mean(held[y, x], 0) if (y, x) in held else np.zeros(2)
            np.testing.assert_allclose(found[:, y + 1, x + 3], expected, rtol=1e-6)
    assert any(len(one) > 1 for one in held.values())


def test_factors_lie_around_the_own_cell_and_go_on_beyond_their_end():
    factors = torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(1))
    found = scale_around(VALUES, WINDOWS, CENTRES, factors)
    for _, y, x, number in cells():
        expected = VALUES[:, number] * factors[:, min(max(y, -1), 1) + 1, min(max(x, -1), 1) + 1]
        assert torch.equal(found[:, number], expected)


def test_no_map():
    none = torch.zeros(0, 4, dtype=torch.int64)
    assert mean_around(torch.zeros(2, 0), none, none[:, :2]).tolist() == [[[0.0]], [[0.0]]]
    assert scale_around(torch.zeros(2, 0), none, none[:, :2], torch.ones(2, 1, 1)).shape == (2, 0)
