"""Shares that are summed over cells, against those of maps that were brought to the image."""

import numpy as np
import pytest
import torch

from odam_d2.analysis.heat_shares import PixelPart, _CellShares, heat_shares
from odam_d2.structures import HeatMaps


def random_maps(generator, inputs, outputs, levels, windows_of, low=0.0):
    """Maps with windows anywhere on padded grids of some strides.

    Args:
        generator: torch's.
        inputs: (h, w) of the model input.
        outputs: (h, w) of the original image.
        levels: strides.
        windows_of: how many windows each detection has.
        low: of the cells, which are uniform up to 1.
    """
    windows, grids, strides, values, owners = [], [], [], [], []
    for owner, count in enumerate(windows_of):
        for _ in range(count):
            stride = levels[int(torch.randint(len(levels), (), generator=generator))]
            grid = [-(-size // stride) + 1 for size in inputs]  # a row and a column of padding
            top, left = (int(torch.randint(size - 1, (), generator=generator)) for size in grid)
            height, width = (
                int(torch.randint(1, size - start + 1, (), generator=generator))
                for size, start in zip(grid, (top, left))
            )
            if owner == len(windows_of) - 1:  # the last covers everything
                (top, left), (height, width) = (0, 0), grid
            windows.append([top, left, height, width])
            grids.append(grid)
            strides.append([float(stride)] * 2)
            values.append(low + (1 - low) * torch.rand(height * width, generator=generator))
            owners.append(owner)
    return HeatMaps(
        torch.cat(values)[None], torch.tensor(windows), torch.tensor(grids), torch.tensor(strides), ("score",),
        inputs, outputs, torch.tensor(owners),
    )  # fmt: skip


def shares_of(maps, parts, boxes, exact):
    found = np.full((len(parts) + 1, len(maps)), np.nan)
    on_cells = np.zeros(len(maps), dtype=bool)
    for rows, shares in heat_shares(maps, "score", maps.output_size, exact):
        assert np.isnan(found[0, rows]).all()
        on_cells[rows] = isinstance(shares, _CellShares)
        for k, part in enumerate(parts):
            found[k, rows] = shares.of(part)
        found[-1, rows] = shares.inside(boxes[torch.from_numpy(rows)])
    return found, on_cells


@pytest.mark.parametrize("at_once", [2**22, 1])
@pytest.mark.parametrize(
    "inputs, outputs, levels, windows_of, low",
    [
        ((64, 96), (64, 96), (8,), [1] * 12, 0.0),
        ((61, 90), (130, 45), (8, 16), [1] * 12, 0.0),  # cells that are cut, other scales along each axis
        ((61, 90), (130, 45), (8, 16), [1, 2, 3, 1, 2, 3], 0.0),
        ((64, 96), (64, 96), (8, 16), [2] * 8, -1.0),  # signed: cut at zero after they are summed
    ],
)
def test_cells_against_pixels(inputs, outputs, levels, windows_of, low, at_once, monkeypatch):
    monkeypatch.setattr("odam_d2.analysis.heat_shares._AT_ONCE", at_once)
    generator = torch.Generator().manual_seed(3)
    maps = random_maps(generator, inputs, outputs, levels, windows_of, low)
    height, width = outputs
    parts = [PixelPart.of(torch.rand(outputs, generator=generator) < share) for share in (0.0, 0.1, 1.0)]
    region = torch.zeros(outputs)
    region[height // 3 : height // 2, width // 4 :] = torch.rand(height // 2 - height // 3, width - width // 4)
    parts.append(PixelPart.of(region))
    corner = torch.rand(len(maps), 2, generator=generator) * torch.tensor([width, height]) * 0.7
    boxes = torch.cat([corner, corner + 3 + 20 * torch.rand(len(maps), 2, generator=generator)], 1)
    found, on_cells = shares_of(maps, parts, boxes, exact=False)
    expected, plain = shares_of(maps, parts, boxes, exact=True)
    assert not plain.any()
    # Some maps reach all corners; those of signed windows are never sums of cells.
    assert 0 < on_cells.sum() < len(maps) if low == 0.0 else not on_cells.any()
    # Pixels are in single precision.
    assert np.allclose(found, expected, atol=2e-6) and (found[2] > 0.999).all() and (found[0] == 0).all()


def test_a_map_that_is_nowhere_zero_begins_at_its_lowest_pixel():
    # Two cells of 2 pixels each, 1 and 3: pixels 1, 1.5, 2.5, 3; normalised 0, .25, .75, 1.
    maps = HeatMaps(
        torch.tensor([[1.0, 3.0]]), torch.tensor([[0, 0, 1, 2]]), torch.tensor([[1, 2]]), torch.tensor([[2.0, 2.0]]),
        ("score",), (2, 4), (2, 4),
    )  # fmt: skip
    part = torch.zeros(2, 4)
    part[0, 1] = 1.0
    ((rows, shares),) = heat_shares(maps, "score", (2, 4))
    assert rows.tolist() == [0] and shares.of(PixelPart.of(part)).tolist() == pytest.approx([0.25 / 4])


def test_a_map_of_all_zeros_has_no_shares():
    maps = HeatMaps(
        torch.zeros(1, 2), torch.tensor([[0, 0, 1, 2]]), torch.tensor([[4, 4]]), torch.ones(1, 2), ("score",),
        (4, 4), (4, 4),
    )  # fmt: skip
    for exact in (False, True):
        ((_, shares),) = heat_shares(maps, "score", (4, 4), exact)
        assert np.isnan(shares.of(PixelPart.of(torch.ones(4, 4)))).all()
        assert np.isnan(shares.inside(torch.tensor([[0.0, 0.0, 4.0, 4.0]]))).all()
    assert list(heat_shares(maps[[]], "score", (4, 4))) == []


def test_products_of_parts():
    generator = torch.Generator().manual_seed(0)
    one, two = torch.zeros(6, 7), torch.zeros(6, 7)
    one[1:4, 2:6], two[3:6, 0:4] = torch.rand(3, 4, generator=generator), torch.rand(3, 4, generator=generator)
    product = PixelPart.of(one).times(PixelPart.of(two))
    whole = torch.zeros(6, 7, dtype=torch.float64)
    whole[product.window] = product.weights
    assert torch.equal(whole, one.double() * two.double()) and product.area == float(whole.sum())
    assert PixelPart.of(one).times(PixelPart.of(torch.zeros(6, 7))) is None
