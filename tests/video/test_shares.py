"""Heat on neighbours, against sums over pixels."""

import math

import pytest
import torch

from odam_d2.structures import HeatMaps
from odam_d2.video.shares import neighbour_shares

BOXES = torch.tensor([[0.0, 0.0, 8.0, 8.0], [4.0, 0.0, 12.0, 8.0], [10.0, 4.0, 16.0, 16.0], [40.0, 40.0, 48.0, 48.0]])


def maps(rows, zero=False):
    """One map each on a grid of 16 x 16 cells of 4 pixels; the image has a size of its own."""
    values = torch.rand(len(rows) * 36, generator=torch.Generator().manual_seed(3))
    return HeatMaps(
        values[None] * (0.0 if zero else 1.0),
        torch.tensor([[top, left, 6, 6] for top, left in rows]),
        torch.tensor([[16, 16]] * len(rows)),
        torch.full((len(rows), 2), 4.0),
        ("score",),
        (64, 64),
        (60, 50),
    )


@pytest.mark.parametrize("index", range(4))
def test_the_shares_are_sums_over_pixels(index):
    heatmaps = maps([(0, 0), (0, 1), (0, 2), (8, 8)])
    found = neighbour_shares(heatmaps, BOXES, index, "score")
    heat = heatmaps.to_image("score")[index].double()
    on, beyond = 0.0, 0.0
    for y in range(60):
        for x in range(50):
            inside = [x1 <= x + 0.5 <= x2 and y1 <= y + 0.5 <= y2 for x1, y1, x2, y2 in BOXES.tolist()]
            other = any(inside[:index] + inside[index + 1 :])
            on += float(heat[y, x]) * other
            beyond += float(heat[y, x]) * (other and not inside[index])
    total = float(heat.sum())
    assert found.on_neighbours == pytest.approx(on / total, abs=1e-6)
    assert found.beyond == pytest.approx(beyond / total, abs=1e-6)
    # The last has no neighbour near; the first has, also beyond its own box.
    assert (found.on_neighbours > 0.1) == (index < 3) and (found.beyond > 0.05) == (index in (0, 1, 2))


def test_alone_there_are_no_neighbours_and_without_heat_no_shares():
    alone = neighbour_shares(maps([(0, 0)]), BOXES[:1], 0, "score")
    assert (alone.on_neighbours, alone.beyond) == (0.0, 0.0)
    nothing = neighbour_shares(maps([(0, 0), (0, 1)], zero=True), BOXES[:2], 0, "score")
    assert math.isnan(nothing.on_neighbours) and math.isnan(nothing.beyond)
