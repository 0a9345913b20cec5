"""How alike two heat maps are."""

from torch import Tensor


def cosine_similarity(maps: Tensor) -> Tensor:
    """Cosine of the angle between every two maps.

    Args:
        maps: (R, T) maps flattened over a common grid.

    Returns:
        (R, R) float; for maps without negative values in [0, 1]. An all-zero map is like nothing, itself included.
    """
    length = maps.norm(dim=1, keepdim=True)
    unit = maps / length.clamp(min=maps.new_tensor(1e-30))
    return (unit @ unit.T).clamp(-1.0, 1.0)
