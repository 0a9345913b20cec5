"""Numbers one behind the other."""

import torch
from torch import Tensor


def ranges(first: Tensor, length: Tensor, chosen: Tensor) -> Tensor:
    """The numbers ``first[i] .. first[i] + length[i] - 1`` for each chosen i, one range behind the other."""
    taken = length[chosen]
    within = torch.arange(int(taken.sum()), device=first.device)
    within = within - torch.repeat_interleave(taken.cumsum(0) - taken, taken)
    return torch.repeat_interleave(first[chosen], taken) + within
