"""Random masks against an enlargement that is cut out."""

import torch
from torch.nn.functional import interpolate

from odam_d2.ops.masks import draw_masks, masks_at


def pixels(size: int) -> torch.Tensor:
    """Centres of the pixels of a side, as fractions of it."""
    return (torch.arange(size) + 0.5) / size


def test_masks_are_an_enlarged_grid_cut_at_the_shift():
    """RISE's own way: 4 cells are enlarged to 5 cells of the image's, then the image's size is cut out."""
    height, width, cells = 24, 40, 4  # cells of 6 x 10 pixels
    grids, _ = draw_masks(3, cells, 0.5, torch.Generator().manual_seed(1))
    corner = torch.tensor([[0, 0], [5, 9], [2, 4]])
    shifts = corner / torch.tensor([6.0, 10.0])
    found = masks_at(grids, shifts, pixels(height), pixels(width))
    large = interpolate(grids[:, None], (30, 50), mode="bilinear", align_corners=False)[:, 0]
    for mask, whole, (top, left) in zip(found, large, corner.tolist(), strict=True):
        assert torch.allclose(mask, whole[top : top + height, left : left + width], atol=1e-5)


def test_a_mask_by_hand():
    # A 1 x 2 image of one cell 0 | 1 along x; without shift the place f is at position 2 f * 2/3 - .5 of the cells:
    # f = .375: 0;  f = .75: .5;  f = 1: .8333, and at f = 0 the border goes on.
    grids = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    found = masks_at(grids, torch.zeros(1, 2), torch.tensor([0.5]), torch.tensor([0.0, 0.375, 0.75, 1.0]))
    assert torch.allclose(found[0, 0], torch.tensor([0.0, 0.0, 0.5, 5 / 6]), atol=1e-6)


def test_the_seed_decides():
    first, again, other = (draw_masks(2, 16, 0.5, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert first[0].shape == (2, 16, 16) and set(first[0].unique().tolist()) == {0.0, 1.0}
    assert first[1].shape == (2, 2) and bool(((first[1] >= 0) & (first[1] < 1)).all())


def test_it_does_not_matter_how_many_are_drawn_at_a_time():
    generator = torch.Generator().manual_seed(3)
    parts = [draw_masks(count, 3, 0.5, generator) for count in (1, 4, 2)]
    whole = draw_masks(7, 3, 0.5, torch.Generator().manual_seed(3))
    for number in (0, 1):
        assert torch.equal(torch.cat([part[number] for part in parts]), whole[number])


def test_probability_is_the_share_that_is_seen():
    grids, shifts = draw_masks(300, 16, 0.3, torch.Generator().manual_seed(0))
    assert abs(float(masks_at(grids, shifts, pixels(32), pixels(32)).mean()) - 0.3) < 0.01
