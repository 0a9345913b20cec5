"""How alike two maps of the same object are.

Shape letters: R objects, T cells.
"""

import torch
from torch import Tensor

from ...structures import HeatMaps

# Maps are compared on cells of so many pixels of the model input.
STRIDE = 8
# Maps that differ by less, as a share of their maximum, differ by rounding; a step of 8-bit colour is 400 times that.
ROUNDING = 1e-5


def maps_on_cells(heatmaps: HeatMaps, attribute: str) -> list[Tensor]:
    """R times (T,) float32: the raw maps of one image, flattened, on cells of :data:`STRIDE` pixels."""
    height, width = (-(-side // STRIDE) for side in heatmaps.image_size)
    return list(heatmaps.to_image(attribute, normalize=False, size=(height, width)).flatten(1).cpu())


def rank_correlation(one: Tensor, other: Tensor) -> Tensor:
    """Spearman's correlation of two maps (T,) on the cells where at least one of them is not zero; ties share a rank.

    Where both are zero, outside a box for example, they agree for no merit of their own.

    Returns:
        () float32 in [-1, 1]; 0 where a map is constant on these cells, and where there are none.
    """
    cells = (one != 0) | (other != 0)
    one, other = one[cells], other[cells]
    # scipy gives NaN and a warning where an order is missing.
    if any(bool((values == values[:1]).all()) for values in (one, other)):
        return torch.zeros(())
    from scipy.stats import spearmanr  # takes a second, which every command would wait for

    correlation, _ = spearmanr(one.cpu().numpy(), other.cpu().numpy())
    return torch.tensor(float(correlation))


def cosine(one: Tensor, other: Tensor) -> Tensor:
    """Cosine of two maps (T,), () float32; 0 where one is zero everywhere."""
    size = one.double().norm() * other.double().norm()
    return (one.double() @ other.double() / size if float(size) > 0 else size).float()


def same_up_to_scale(one: Tensor, other: Tensor) -> bool:
    """Whether one of two maps (T,) is the other times a positive number, but for rounding; two maps of zeros are."""
    tops = [values.abs().max() if len(values) else values.new_zeros(()) for values in (one, other)]
    if not all(float(top) > 0 for top in tops):
        return float(tops[0]) == float(tops[1])
    return bool(((one / tops[0] - other / tops[1]).abs() <= ROUNDING).all())
