"""Random masks that hide parts of an image.

A mask is a coarse grid of ones and zeros, enlarged by bilinear interpolation and shifted at random. It is a function of
the place in the image, so that it can be had at every pixel or at the cells of a coarser grid.

Source: Petsiuk et al., RISE, BMVC 2018 (arXiv 1806.07421), section 3.2.

Shape letters: B masks, M cells of the coarse grid along an axis, O places.
"""

import torch
from torch import Tensor


def draw_masks(count: int, resolution: int, probability: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Coarse grids and shifts of some masks; drawn mask by mask, so that it doesn't matter how many at a time.

    Args:
        count: B.
        resolution: M.
        probability: of a one.
        generator: what is drawn from, on the CPU.

    Returns:
        (B, M, M) float grids of 0 and 1; (B, 2) shifts along y, x in [0, 1) cells.
    """
    drawn = torch.rand(count, resolution * resolution + 2, generator=generator)
    grids = (drawn[:, 2:] < probability).float()
    return grids.view(count, resolution, resolution), drawn[:, :2]


def masks_at(grids: Tensor, shifts: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Values of masks at the crossings of rows and columns.

    The image is M cells wide; the coarse grid is enlarged to M + 1 cells, so that there is room for the shift.

    Args:
        grids: (B, M, M) from :func:`draw_masks`.
        shifts: (B, 2) likewise.
        y: (O_y,) places along y as fractions of the image's height; beyond [0, 1] the border goes on.
        x: (O_x,) places along x.

    Returns:
        (B, O_y, O_x) in [0, 1].
    """
    rows, columns = (_weights(place, shifts[:, k], grids.shape[-1]) for k, place in enumerate((y, x)))
    return torch.bmm(torch.bmm(rows, grids), columns.transpose(1, 2))


def _weights(place: Tensor, shift: Tensor, resolution: int) -> Tensor:
    """(B, O, M): bilinear weights of the coarse cells at each place."""
    position = (place * resolution + shift[:, None]) * (resolution / (resolution + 1)) - 0.5
    position = position.clamp(0, resolution - 1)
    cells = torch.arange(resolution, device=place.device)
    return (1.0 - (position[:, :, None] - cells).abs()).clamp(min=0.0)
